#include "kernels/cpu/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cpu/vector_math.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

MPIQUANT_MULTIVERSION double sum_of_squares(const float* x, std::int64_t n) {
  std::array<double, kLanes> lanes{};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) {
      const double value = x[i + l];
      lanes[static_cast<std::size_t>(l)] += value * value;
    }
  for (; i < n; ++i) lanes[static_cast<std::size_t>(i % kLanes)] += static_cast<double>(x[i]) * x[i];
  return sum_lanes(lanes);
}

MPIQUANT_MULTIVERSION void scale_by(const float* x, const float* weight, float scale, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = weight[i] * (x[i] * scale);
}

MPIQUANT_MULTIVERSION void add_row(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

MPIQUANT_MULTIVERSION void rotate_head(float* x, const float* cos, const float* sin, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float low = x[i], high = x[i + half];
    x[i] = low * cos[i] - high * sin[i];
    x[i + half] = high * cos[i] + low * sin[i];
  }
}

MPIQUANT_MULTIVERSION void gate_row(const float* gate, const float* up, float* out, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0F + exp_fast(-gate[i])) * up[i];
}

}  // namespace

void linear(const MatMul& matmul, ConstMatrix x, ConstMatrix w, const float* bias, Matrix y) {
  expect(x.cols == w.cols && y.rows == x.rows && y.cols == w.rows, "linear: shapes [{},{}] [{},{}] [{},{}]", x.rows, x.cols,
         w.rows, w.cols, y.rows, y.cols);
  if (x.rows == 0) return;
  matmul.by_transpose(matmul.operand(x), matmul.operand(w), y);
  if (bias == nullptr) return;
  for (std::int64_t r = 0; r < y.rows; ++r) add_row(bias, y.row(r), y.cols);
}

void rms_norm(ConstMatrix x, const float* weight, float eps, Matrix y) {
  expect(x.rows == y.rows && x.cols == y.cols, "rms_norm: shapes [{},{}] [{},{}]", x.rows, x.cols, y.rows, y.cols);
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const double mean = sum_of_squares(x.row(r), x.cols) / static_cast<double>(x.cols);
    scale_by(x.row(r), weight, static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps))), y.row(r), x.cols);
  }
}

void add(ConstMatrix x, Matrix y) {
  expect(x.rows == y.rows && x.cols == y.cols, "add: shapes [{},{}] [{},{}]", x.rows, x.cols, y.rows, y.cols);
  for (std::int64_t r = 0; r < x.rows; ++r) add_row(x.row(r), y.row(r), x.cols);
}

void rotary(Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos, ConstMatrix sin) {
  const std::int64_t half = head_dim / 2;
  expect(head_dim % 2 == 0 && x.cols % head_dim == 0 && cos.cols == half && sin.cols == half && cos.rows == sin.rows,
         "rotary: {} columns, head of {}, tables of {}", x.cols, head_dim, cos.cols);
  expect(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}) == x.rows, "rotary: lengths do not sum to {}", x.rows);
  std::int64_t row = 0;
  for (const std::int64_t length : lengths) {
    expect(length <= cos.rows, "rotary: {} tokens, table of {} positions", length, cos.rows);
    for (std::int64_t position = 0; position < length; ++position, ++row)
      for (std::int64_t head = 0; head < x.cols; head += head_dim)
        rotate_head(x.row(row) + head, cos.row(position), sin.row(position), half);
  }
}

void silu_gate(ConstMatrix gate, ConstMatrix up, Matrix out) {
  expect(gate.rows == up.rows && gate.cols == up.cols && out.rows == gate.rows && out.cols == gate.cols,
         "silu_gate: shapes differ");
  for (std::int64_t r = 0; r < gate.rows; ++r) gate_row(gate.row(r), up.row(r), out.row(r), gate.cols);
}

}  // namespace mpiquant::cpu
