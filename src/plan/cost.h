#pragma once

#include <cstddef>
#include <cstdint>

#include "src/plan/amount.h"
#include "src/plan/shape.h"

namespace mpiquant {

// Work of the pieces that a run is made of. Products of [a, b] with [b, c] count 2abc flop.

// Values of a packed triangle.
constexpr std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

// Norm and copy of the hidden states of a unit.
Amount norm_work(double tokens, std::int64_t hidden);
// A unit of `tokens` tokens, in samples of `length`, passes one copy of a block; attention follows where the layer says so.
Amount forward_work(const LayerShape& layer, std::size_t block, double tokens, double length);
// XᵀX of one unit, added to the integer sum in tiles of 128.
Amount hessian_work(std::int64_t cols, double tokens);
// The same of the cross moments of two inputs, [cols, cols].
Amount cross_work(std::int64_t cols, double tokens);
// The correction out of them: products with the factor and its transpose, n³ flop each; and one part of 128 rows multiplied by
// it.
Amount correction_work(std::int64_t cols);
Amount corrected_work(std::int64_t cols);
// The owner's part: the sum rounded to fp32, its Cholesky factor and inverse, n³/3 flop each.
Amount factor_work(std::int64_t cols);
// One part of 128 rows through all columns: n²/2 updates a row. search: groups search their range.
Amount sweep_work(std::int64_t cols, bool search);
// Round to nearest of one part.
Amount encode_work(std::int64_t cols, bool search);
Amount decode_work(double weights);
// The linear put together, packed into `bytes` of a file and written.
Amount write_work(double weights, double bytes);
// Tensors copied as floats.
Amount copy_work(double source_bytes, double bytes);
// Weights read, and brought to the backend as floats of `weight_bytes` bytes.
Amount read_work(double weights, double source_bytes);
Amount upload_work(double weights, double weight_bytes);

}  // namespace mpiquant
