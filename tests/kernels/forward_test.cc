#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/forward.h"
#include "kernels/cpu/vector_math.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

// A matrix whose rows are further apart than its columns need, filled with reproducible values.
struct Grid {
  Grid(std::int64_t rows, std::int64_t cols, unsigned seed = 1)
      : values(static_cast<std::size_t>(rows * (cols + 3))), matrix{values.data(), rows, cols, cols + 3, MemSpace::kHost} {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
  }
  Grid(const Grid&) = delete;
  float at(std::int64_t row, std::int64_t col) const { return matrix.row(row)[col]; }
  std::vector<float> values;
  Matrix matrix;
};

double ulps(float value, double exact) {
  const float rounded = static_cast<float>(exact);
  return std::abs(static_cast<double>(value) - exact) / static_cast<double>(std::nextafter(rounded, INFINITY) - rounded);
}

TEST(ExpFast, IsWithinTwoUlp) {
  double worst = 0;
  for (float x = -87.0F; x <= 88.0F; x += 1.0F / 4096.0F)
    worst = std::max(worst, ulps(exp_fast(x), std::exp(static_cast<double>(x))));
  EXPECT_LE(worst, 2.0);
  EXPECT_EQ(exp_fast(0.0F), 1.0F);
}

TEST(ExpFast, ClampsAndKeepsNaN) {
  EXPECT_EQ(exp_fast(-INFINITY), exp_fast(-87.0F));
  EXPECT_EQ(exp_fast(INFINITY), exp_fast(88.0F));
  EXPECT_TRUE(std::isnan(exp_fast(NAN)));
}

TEST(Linear, MultipliesByTheTransposeAndAddsTheBias) {
  const auto matmul = make_f32_matmul();
  const Grid x(5, 37), w(11, 37, 2), y(5, 11, 3), bias(1, 11, 4);
  for (const float* b : {static_cast<const float*>(nullptr), static_cast<const float*>(bias.matrix.data)}) {
    linear(*matmul, x.matrix, w.matrix, b, y.matrix);
    for (std::int64_t r = 0; r < 5; ++r)
      for (std::int64_t n = 0; n < 11; ++n) {
        double sum = b == nullptr ? 0 : static_cast<double>(b[n]);
        for (std::int64_t k = 0; k < 37; ++k) sum += static_cast<double>(x.at(r, k)) * static_cast<double>(w.at(n, k));
        EXPECT_NEAR(y.at(r, n), sum, 1e-5) << r << " " << n;
      }
  }
  EXPECT_THROW(linear(*matmul, x.matrix, y.matrix, nullptr, y.matrix), Error);
}

TEST(RmsNorm, DividesByTheRootMeanSquare) {
  for (const std::int64_t cols : {1, 15, 16, 17, 64, 576}) {
    const Grid x(3, cols), weight(1, cols, 2), y(3, cols, 3);
    rms_norm(x.matrix, weight.matrix.data, 1e-5F, y.matrix);
    for (std::int64_t r = 0; r < 3; ++r) {
      double squares = 0;
      for (std::int64_t c = 0; c < cols; ++c) squares += std::pow(static_cast<double>(x.at(r, c)), 2);
      const double scale = 1 / std::sqrt(squares / static_cast<double>(cols) + 1e-5);
      for (std::int64_t c = 0; c < cols; ++c) {
        const double expected = static_cast<double>(x.at(r, c)) * scale * static_cast<double>(weight.at(0, c));
        EXPECT_NEAR(y.at(r, c), expected, 3e-7 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST(Add, AddsInPlace) {
  const Grid x(4, 21), y(4, 21, 2), before(4, 21, 2);
  add(x.matrix, y.matrix);
  for (std::int64_t r = 0; r < 4; ++r)
    for (std::int64_t c = 0; c < 21; ++c) EXPECT_EQ(y.at(r, c), before.at(r, c) + x.at(r, c));
}

TEST(Rotary, TurnsHalvesOfEachHeadFromPositionZeroOfEachSample) {
  const Grid cos(6, 4), sin(6, 4, 2), x(9, 16, 3), before(9, 16, 3);
  const std::vector<std::int64_t> lengths = {6, 3};
  rotary(x.matrix, 8, lengths, cos.matrix, sin.matrix);
  for (std::int64_t r = 0; r < 9; ++r) {
    const std::int64_t position = r < 6 ? r : r - 6;
    for (std::int64_t c = 0; c < 16; ++c) {
      const std::int64_t pair = c % 8 < 4 ? c + 4 : c - 4;
      const float turned = c % 8 < 4 ? -before.at(r, pair) : before.at(r, pair);
      EXPECT_EQ(x.at(r, c), before.at(r, c) * cos.at(position, c % 4) + turned * sin.at(position, c % 4));
    }
  }
  const std::vector<std::int64_t> too_long = {7, 2}, too_short = {6, 2};
  EXPECT_THROW(rotary(x.matrix, 8, too_long, cos.matrix, sin.matrix), Error);
  EXPECT_THROW(rotary(x.matrix, 8, too_short, cos.matrix, sin.matrix), Error);
}

TEST(SiluGate, IsSiluTimesUpAlsoInPlace) {
  const Grid gate(3, 33), up(3, 33, 2), before(3, 33);
  gate.matrix.row(0)[0] = before.matrix.row(0)[0] = -200;
  silu_gate(gate.matrix, up.matrix, gate.matrix);
  for (std::int64_t r = 0; r < 3; ++r)
    for (std::int64_t c = 0; c < 33; ++c) {
      const double g = static_cast<double>(before.at(r, c));
      const double expected = g / (1 + std::exp(-g)) * static_cast<double>(up.at(r, c));
      EXPECT_NEAR(gate.at(r, c), expected, 1e-6 * std::abs(expected) + 1e-30);
    }
}

// This file is compiled for the plainest instruction set: equal bits mean that vector width and fused instructions change
// nothing.
TEST(EveryInstructionSet, GivesTheBitsOfScalarCode) {
  const Grid x(4, 1000), up(4, 1000, 2), y(4, 1000, 3);
  silu_gate(x.matrix, up.matrix, y.matrix);
  for (std::int64_t r = 0; r < 4; ++r)
    for (std::int64_t c = 0; c < 1000; ++c) ASSERT_EQ(y.at(r, c), x.at(r, c) / (1.0F + exp_fast(-x.at(r, c))) * up.at(r, c));
  rms_norm(x.matrix, up.matrix.data, 1e-6F, y.matrix);
  for (std::int64_t r = 0; r < 4; ++r) {
    std::array<double, kLanes> lanes{};
    for (std::int64_t c = 0; c < 1000; ++c) {
      const double value = static_cast<double>(x.at(r, c));
      lanes[static_cast<std::size_t>(c % kLanes)] += value * value;
    }
    const float scale = static_cast<float>(1.0 / std::sqrt(sum_lanes(lanes) / 1000.0 + static_cast<double>(1e-6F)));
    for (std::int64_t c = 0; c < 1000; ++c) ASSERT_EQ(y.at(r, c), up.at(0, c) * (x.at(r, c) * scale));
  }
}

struct AttentionCase {
  std::int64_t heads, kv_heads, head_dim, window;
  std::vector<std::int64_t> lengths;
  float soft_cap = 0;
  std::vector<float> sinks = {};  // by head
};

class Attention : public testing::TestWithParam<AttentionCase> {
 protected:
  // The largest difference from attention written out with a mask, seeing `window` tokens.
  static double difference(const AttentionCase& c, const Grid& q, const Grid& k, const Grid& v, const Grid& out,
                           std::int64_t window) {
    double worst = 0;
    std::int64_t first = 0;
    for (const std::int64_t length : c.lengths) {
      for (std::int64_t row = first; row < first + length; ++row)
        for (std::int64_t head = 0; head < c.heads; ++head) {
          const std::int64_t qc = head * c.head_dim, kc = head / (c.heads / c.kv_heads) * c.head_dim;
          std::vector<double> mean(static_cast<std::size_t>(c.head_dim));
          double sum = c.sinks.empty() ? 0 : std::exp(static_cast<double>(c.sinks[static_cast<std::size_t>(head)]));
          for (std::int64_t key = first; key <= row; ++key) {
            if (window > 0 && key <= row - window) continue;
            double score = 0;
            for (std::int64_t d = 0; d < c.head_dim; ++d)
              score += static_cast<double>(q.at(row, qc + d)) * static_cast<double>(k.at(key, kc + d));
            score /= std::sqrt(static_cast<double>(c.head_dim));
            const auto cap = static_cast<double>(c.soft_cap);
            const double weight = std::exp(cap > 0 ? cap * std::tanh(score / cap) : score);
            sum += weight;
            for (std::int64_t d = 0; d < c.head_dim; ++d)
              mean[static_cast<std::size_t>(d)] += weight * static_cast<double>(v.at(key, kc + d));
          }
          for (std::int64_t d = 0; d < c.head_dim; ++d)
            worst = std::max(worst, std::abs(static_cast<double>(out.at(row, qc + d)) - mean[static_cast<std::size_t>(d)] / sum));
        }
      first += length;
    }
    return worst;
  }
};

TEST_P(Attention, EqualsAttentionWrittenOut) {
  const AttentionCase& c = GetParam();
  std::int64_t rows = 0;
  for (const std::int64_t length : c.lengths) rows += length;
  const Grid q(rows, c.heads * c.head_dim), k(rows, c.kv_heads * c.head_dim, 2), v(rows, c.kv_heads * c.head_dim, 3),
      out(rows, c.heads * c.head_dim, 4);
  const AttentionShape shape{c.heads,
                             c.kv_heads,
                             c.head_dim,
                             c.window,
                             static_cast<float>(1 / std::sqrt(static_cast<double>(c.head_dim))),
                             c.soft_cap,
                             c.sinks.empty() ? nullptr : c.sinks.data()};
  attention(q.matrix, k.matrix, v.matrix, shape, c.lengths, out.matrix);
  EXPECT_LE(difference(c, q, k, v, out, c.window), 2e-6);
  if (c.window > 1) {  // a window off by one, or forgotten, would be seen
    EXPECT_GT(difference(c, q, k, v, out, c.window - 1), 1e-3);
    EXPECT_GT(difference(c, q, k, v, out, c.window + 1), 1e-3);
    EXPECT_GT(difference(c, q, k, v, out, 0), 1e-3);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Attention,
                         testing::Values(AttentionCase{1, 1, 2, 0, {1}}, AttentionCase{4, 2, 8, 0, {70, 1, 64}},
                                         AttentionCase{3, 3, 6, 0, {129}}, AttentionCase{9, 3, 64, 0, {65, 200}},
                                         AttentionCase{4, 1, 16, 1, {67}}, AttentionCase{4, 2, 16, 48, {256, 30, 100}},
                                         AttentionCase{2, 2, 4, 64, {191}}, AttentionCase{4, 2, 16, 0, {70}, 1.5F},
                                         AttentionCase{4, 2, 16, 48, {100, 3}, 0, {0.5F, -1, 2, 0}},
                                         AttentionCase{2, 1, 8, 0, {90}, 2, {1, -0.5F}}));

TEST(AttentionShapes, MustAgree) {
  const Grid q(4, 8), k(4, 4, 2), out(4, 8, 3);
  const std::vector<std::int64_t> lengths = {4}, wrong = {3};
  EXPECT_THROW(attention(q.matrix, k.matrix, k.matrix, {4, 3, 2, 0, 1.0F}, lengths, out.matrix), Error);
  EXPECT_THROW(attention(q.matrix, k.matrix, k.matrix, {4, 2, 2, 0, 1.0F}, wrong, out.matrix), Error);
}

}  // namespace
}  // namespace mpiquant::cpu
