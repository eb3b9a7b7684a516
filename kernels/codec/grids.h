#pragma once

#include "kernels/codec/int_group.h"
#include "kernels/codec/q4_0.h"
#include "kernels/codec/q4_1.h"
#include "kernels/codec/q8_0.h"

namespace mpiquant::codec {

// Calls body with the grid of the codec: the one place that maps kinds to types.
template <typename Body>
[[gnu::always_inline]] inline void with_grid(const CodecSpec& spec, const Body& body) {
  switch (spec.kind) {
    case CodecKind::kInt: return body(IntGroup(spec));
    case CodecKind::kQ8_0: return body(Q8_0(spec));
    case CodecKind::kQ4_0: return body(Q4_0(spec));
    case CodecKind::kQ4_1: return body(Q4_1(spec));
  }
}

}  // namespace mpiquant::codec
