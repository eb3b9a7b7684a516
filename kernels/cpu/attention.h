#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"

namespace mpiquant::cpu {

// Causal attention in fp32 on one thread: out [T, heads * head_dim] from q like out and k, v [T, kv_heads * head_dim], all on the
// host. Samples, of the given lengths, do not see each other. Scratch: one tile of query rows by the keys it can see.
void attention(ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape, std::span<const std::int64_t> lengths,
               Matrix out);

}  // namespace mpiquant::cpu
