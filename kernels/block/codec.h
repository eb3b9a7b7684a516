#pragma once

#include "kernels/block/block.h"
#include "kernels/codec/grid.h"

// Bodies of round to nearest and of decoding. Params and ranges of a linear are kept transposed, [groups][rows], so that
// neighbouring threads, which work on neighbouring rows, read neighbouring memory.
namespace mpiquant::block {

// Parameters of groups of columns from weight [rows, cols], row-major; a call is a group (r) of a row (c).
template <typename Grid>
struct FitOp {
  Grid grid;
  const float* weight;
  std::int64_t ldw;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t group;
  GroupParams* params;
  std::int8_t* range;  // see codec::StoredScale
  MQ_HD void operator()(std::int64_t g, std::int64_t r) const {
    const codec::Fitted fitted = codec::fit_group(grid, weight + r * ldw + g * group, smaller(group, cols - g * group), 1);
    params[g * rows + r] = fitted.params;
    range[g * rows + r] = static_cast<std::int8_t>(fitted.range);
  }
};

// Codes [rows, cols] of a group (r) of a row (c) by round to nearest, and its squared error.
template <typename Grid>
struct RoundOp {
  Grid grid;
  const float* weight;
  std::int64_t ldw;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t group;
  const GroupParams* params;
  std::uint8_t* codes;
  double* loss;  // [groups][rows]
  MQ_HD void operator()(std::int64_t g, std::int64_t r) const {
    const float* x = weight + r * ldw + g * group;
    const std::int64_t n = smaller(group, cols - g * group);
    const GroupParams own = params[g * rows + r];
    codec::Extent extent;
    for (std::int64_t i = 0; i < n; ++i) extent.see(x[i]);
    const codec::Rounder rounder = grid.rounder(extent, own);
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const float q = grid.rtn_code(x[i], rounder);
      const double error = static_cast<double>(x[i]) - static_cast<double>(grid.value(q, own));
      codes[r * cols + g * group + i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
      sum += error * error;
    }
    loss[g * rows + r] = sum;
  }
};

// out [rows, cols] = the values of codes [rows, cols]. Parameters of group g of row r are at r * next_row + g * next_group: by
// row as in EncodedRows, or transposed as the kernels leave them.
template <typename Grid>
struct DecodeOp {
  Grid grid;
  const std::uint8_t* codes;
  const GroupParams* params;
  std::int64_t next_row;
  std::int64_t next_group;
  const std::int32_t* g_idx;
  std::int64_t cols;
  float* out;
  std::int64_t ldo;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    out[r * ldo + c] = grid.value(static_cast<float>(codes[r * cols + c]), params[r * next_row + g_idx[c] * next_group]);
  }
};

// Sets *found when an element of x is infinite or not a number.
struct FindNonFiniteOp {
  const float* x;
  std::int64_t ldx;
  std::int32_t* found;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    const std::uint32_t bits = codec::float_bits(x[r * ldx + c]);
    if ((bits & 0x7f800000U) == 0x7f800000U) *found = 1;
  }
};

}  // namespace mpiquant::block
