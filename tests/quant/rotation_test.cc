#include "src/quant/rotation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "src/base/error.h"

namespace mpiquant {
namespace {

// R [size, size], row by row.
std::vector<double> matrix_of(const Rotation& rotation, std::size_t size) {
  std::vector<double> rows(size * size, 0.0);
  for (std::size_t i = 0; i < size; ++i) {
    rows[i * size + i] = 1;
    rotation.turn(std::span(rows).subspan(i * size, size));
  }
  return rows;
}

std::vector<float> random_values(std::size_t count) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

TEST(Rotation, IsOrthogonalAndSpreadsAColumnEvenly) {
  for (const auto& [period, block] : {std::pair{64, 64}, {96, 32}, {1024, 256}, {6, 2}}) {
    const Rotation rotation(period);
    EXPECT_EQ(rotation.block(), block);
    const auto n = static_cast<std::size_t>(period);
    const std::vector<double> r = matrix_of(rotation, n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        double product = 0;
        for (std::size_t k = 0; k < n; ++k) product += r[i * n + k] * r[j * n + k];
        ASSERT_NEAR(product, i == j ? 1 : 0, 1e-12) << period << " " << i << " " << j;
      }
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        const bool inside = i / static_cast<std::size_t>(block) == j / static_cast<std::size_t>(block);
        ASSERT_NEAR(std::abs(r[i * n + j]), inside ? 1 / std::sqrt(block) : 0, 1e-12);
      }
  }
}

TEST(Rotation, HasSignsOfBothKindsThatRepeat) {
  const std::vector<double> r = matrix_of(Rotation(32), 64);
  int negative = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    negative += r[i * 64] < 0 ? 1 : 0;
    for (std::size_t j = 0; j < 32; ++j) EXPECT_EQ(r[i * 64 + j], r[(i + 32) * 64 + j + 32]);
  }
  EXPECT_GT(negative, 8);
  EXPECT_LT(negative, 24);
}

TEST(Rotation, OfRowsIsTheTransposedOne) {
  constexpr std::size_t kRows = 96, kCols = 5;
  const Rotation rotation(48);  // blocks of 16
  const std::vector<double> r = matrix_of(rotation, kRows);
  const std::vector<float> w = random_values(kRows * kCols);
  std::vector<float> rows(w.begin() + 16 * kCols, w.end());
  rotation.turn_rows(rows, 16, kCols);
  for (std::size_t i = 16; i < kRows; ++i)
    for (std::size_t c = 0; c < kCols; ++c) {
      double expected = 0;
      for (std::size_t k = 0; k < kRows; ++k) expected += r[k * kRows + i] * static_cast<double>(w[k * kCols + c]);
      EXPECT_NEAR(rows[(i - 16) * kCols + c], expected, 1e-5);
    }
  EXPECT_THROW(rotation.turn_rows(rows, 8, kCols), Error);
}

TEST(RotatedSpec, OddSizesAreRefused) {
  ModelSpec model;
  model.hidden = 63;
  model.head_dim = 21;
  EXPECT_THAT([&] { rotated_spec(model); }, testing::ThrowsMessage<Error>(testing::HasSubstr("hidden size 63")));
}

TEST(RotateHessian, IsTheHessianOfRotatedInputs) {
  constexpr std::size_t kCols = 24, kTokens = 40;  // blocks of 8
  const RotatedTensor linear{.norm = "norm", .in = 24, .out = 0, .becomes_ones = false};
  std::vector<float> norm = random_values(kCols);
  const std::vector<float> x = random_values(kCols * kTokens);
  const auto hessian_of = [](const std::vector<double>& inputs) {
    Hessian out{kCols, kTokens, {}};
    for (std::size_t i = 0; i < kCols; ++i)
      for (std::size_t j = i; j < kCols; ++j) {
        double sum = 0;
        for (std::size_t t = 0; t < kTokens; ++t) sum += inputs[t * kCols + i] * inputs[t * kCols + j];
        out.packed.push_back(static_cast<float>(sum));
      }
    return out;
  };
  std::vector<double> before, after;
  for (std::size_t i = 0; i < x.size(); ++i) {
    before.push_back(static_cast<double>(x[i]) * static_cast<double>(norm[i % kCols]));
    after.push_back(static_cast<double>(x[i]));
  }
  for (std::size_t t = 0; t < kTokens; ++t) Rotation(24).turn(std::span(after).subspan(t * kCols, kCols));
  const Hessian expected = hessian_of(after);
  Hessian mapped = hessian_of(before);
  rotate_hessian(mapped, linear, norm);
  for (std::size_t i = 0; i < expected.packed.size(); ++i) EXPECT_NEAR(mapped.packed[i], expected.packed[i], 1e-3);
  unrotate_hessian(mapped, linear, norm);
  const Hessian original = hessian_of(before);
  for (std::size_t i = 0; i < original.packed.size(); ++i) EXPECT_NEAR(mapped.packed[i], original.packed[i], 1e-3);
  Hessian untouched = hessian_of(before);
  rotate_hessian(untouched, RotatedTensor{.norm = {}, .in = 0, .out = 24, .becomes_ones = false}, {});
  EXPECT_EQ(untouched.packed, hessian_of(before).packed);
  norm[5] = 0;
  try {
    rotate_hessian(mapped, linear, norm);
    ADD_FAILURE() << "a norm of zero is taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_THAT(error.what(), testing::HasSubstr("norm is 0 at 5"));
  }
}

}  // namespace
}  // namespace mpiquant
