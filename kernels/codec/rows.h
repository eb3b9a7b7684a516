#pragma once

#include <cstdint>
#include <span>

#include "kernels/codec/codec.h"

namespace mpiquant::codec {

// True if no value is infinite or NaN.
bool all_finite(std::span<const float> x);
// Stored values of a float dtype to fp32, out.size() of them; false if one is not finite.
bool load_finite(DType dtype, std::span<const std::byte> stored, std::span<float> out);

// What became of a row.
struct RowError {
  double loss = 0;  // sum of squared errors, each made in fp32
  std::int64_t scale_underflows = 0;
  std::int64_t scale_overflows = 0;
};

// Round to nearest of a row x [cols] of finite values: codes [cols], params [groups]. The codes are those of the grid's scalar
// definition (grid.h), for ggml codecs ggml's. Codecs that search their ranges (mse) are not taken.
RowError round_row(const CodecSpec& codec, std::span<const float> x, std::span<std::uint8_t> codes,
                   std::span<GroupParams> params);

}  // namespace mpiquant::codec
