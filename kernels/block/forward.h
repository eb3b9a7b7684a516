#pragma once

#include <cmath>

#include "kernels/block/block.h"

// Bodies of the forward pass. Matrices are row-major with a leading dimension.
namespace mpiquant::block {

// y += x
struct AddOp {
  const float* x;
  std::int64_t ldx;
  float* y;
  std::int64_t ldy;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const { y[r * ldy + c] += x[r * ldx + c]; }
};

// y = x
struct CopyOp {
  const float* x;
  std::int64_t ldx;
  float* y;
  std::int64_t ldy;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const { y[r * ldy + c] = x[r * ldx + c]; }
};

// y += bias, the same for every row
struct BiasOp {
  const float* bias;
  float* y;
  std::int64_t ldy;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const { y[r * ldy + c] += bias[c]; }
};

// y = x in another type; columns from x_cols on become zero.
template <typename Element>
struct ToBitsOp {
  const float* x;
  std::int64_t ldx;
  std::int64_t x_cols;
  Element* y;
  std::int64_t ldy;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const { from_float(c < x_cols ? x[r * ldx + c] : 0.0F, y[r * ldy + c]); }
};

// y = x of another type, to fp32.
template <typename Element>
struct FromBitsOp {
  const Element* x;
  std::int64_t ldx;
  float* y;
  std::int64_t ldy;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const { y[r * ldy + c] = to_float(x[r * ldx + c]); }
};

// out = silu(gate) * up, silu(g) = g / (1 + e^-g); out may be gate.
struct SiluGateOp {
  const float* gate;
  std::int64_t ld_gate;
  const float* up;
  std::int64_t ld_up;
  float* out;
  std::int64_t ld_out;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    const float g = gate[r * ld_gate + c];
    out[r * ld_out + c] = g / (1.0F + expf(-g)) * up[r * ld_up + c];
  }
};

// Rotates heads in place: dimension i of a head pairs with i + half; row r is at position r. A call is a pair: cols is heads *
// half.
struct RotaryOp {
  float* x;
  std::int64_t ldx;
  const float* cos;
  std::int64_t ld_cos;
  const float* sin;
  std::int64_t ld_sin;
  std::int64_t half;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    const std::int64_t i = c % half;
    float* head = x + r * ldx + c / half * 2 * half;
    const float low = head[i], high = head[i + half];
    const float turn = cos[r * ld_cos + i], side = sin[r * ld_sin + i];
    head[i] = low * turn - high * side;
    head[i + half] = high * turn + low * side;
  }
};

// y = x / sqrt(mean(x²) + eps) * weight by rows; a block has one row. y may be x.
struct RmsNorm {
  static constexpr int kThreads = 256;
  using Private = Nothing;

  const float* x;
  std::int64_t ldx;
  const float* weight;
  float* y;
  std::int64_t ldy;
  std::int64_t rows;
  std::int64_t cols;
  float eps;

  BlockGrid grid() const { return {rows, 1}; }
  std::size_t shared_bytes() const { return kThreads * sizeof(double); }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    double* sums = block.template shared<double>();
    const float* in = x + block.x * ldx;
    float* out = y + block.x * ldy;
    block.phase([&](int thread, Private&) {
      double sum = 0;
      for (std::int64_t c = thread; c < cols; c += kThreads) sum += static_cast<double>(in[c]) * static_cast<double>(in[c]);
      sums[thread] = sum;
    });
    for (int width = kThreads / 2; width > 0; width /= 2)
      block.phase([&](int thread, Private&) {
        if (thread < width) sums[thread] += sums[thread + width];
      });
    block.phase([&](int thread, Private&) {
      const auto scale = static_cast<float>(1.0 / sqrt(sums[0] / static_cast<double>(cols) + static_cast<double>(eps)));
      for (std::int64_t c = thread; c < cols; c += kThreads) out[c] = weight[c] * (in[c] * scale);
    });
  }
};

}  // namespace mpiquant::block
