#include "kernels/cpu/hessian.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "src/base/error.h"
#include "tests/kernels/sample.h"

namespace mpiquant {
namespace {

std::vector<std::int64_t> add(const std::vector<Sample>& units, int exponent, int threads, bool reversed = false,
                              ComputeType compute = ComputeType::kF32) {
  const auto backend = make_cpu_backend(threads, compute);
  const std::int64_t cols = units.front().cols;
  std::vector<std::int64_t> sum(static_cast<std::size_t>(cols * (cols + 1) / 2));
  std::vector<ConstMatrix> views;
  for (const Sample& unit : units) views.push_back(unit.view());
  if (reversed) std::reverse(views.begin(), views.end());
  backend->hessian_add(views, exponent, sum);
  return sum;
}

std::vector<Sample> make_units(std::int64_t cols) {
  std::vector<Sample> out;
  for (unsigned seed = 1; seed <= 4; ++seed) out.push_back(sample_activations(40 + 11 * seed, cols, seed));
  return out;
}

TEST(HessianAdd, SumsProductsOfAllUnits) {
  for (const std::int64_t cols : {1, 64, 128, 300}) {
    const std::vector<Sample> units = make_units(cols);
    const std::vector<std::int64_t> sum = add(units, 30, 1);
    std::vector<double> exact(sum.size());
    for (const Sample& unit : units) {
      const std::vector<float> h = sample_hessian(unit);
      for (std::size_t i = 0; i < h.size(); ++i) exact[i] += static_cast<double>(h[i]);
    }
    const double largest = *std::max_element(exact.begin(), exact.end());
    for (std::size_t i = 0; i < exact.size(); ++i)
      ASSERT_NEAR(std::ldexp(static_cast<double>(sum[i]), -30), exact[i], 1e-5 * largest);
  }
}

TEST(HessianAdd, DependsOnNeitherThreadsNorOrder) {
  const std::vector<Sample> units = make_units(300);
  const std::vector<std::int64_t> sum = add(units, 40, 1);
  EXPECT_EQ(sum, add(units, 40, 3));
  EXPECT_EQ(sum, add(units, 40, 2, true));
  std::vector<std::int64_t> split = add({units[0], units[2]}, 40, 1);
  const std::vector<std::int64_t> rest = add({units[1], units[3]}, 40, 2);
  std::transform(split.begin(), split.end(), rest.begin(), split.begin(), std::plus<>());
  EXPECT_EQ(sum, split);
}

TEST(HessianAdd, OfRoundedActivationsIsThatOfBfloat16) {
  for (const std::int64_t cols : {64, 300}) {
    const std::vector<Sample> units = make_units(cols);
    std::vector<Sample> rounded = units;
    for (Sample& unit : rounded)
      for (float& value : unit.values) value = round_to(DType::kBF16, value);
    std::vector<std::int64_t> sum;
    try {
      sum = add(units, 30, 1, false, ComputeType::kBF16);
    } catch (const Error& error) {
      if (error.code() != ExitCode::kUsage) throw;  // only a processor that cannot is a reason
      GTEST_SKIP() << error.what();
    }
    const std::vector<std::int64_t> exact = add(rounded, 30, 1);
    const std::int64_t largest = *std::max_element(exact.begin(), exact.end());
    for (std::size_t i = 0; i < exact.size(); ++i)
      ASSERT_NEAR(static_cast<double>(sum[i]), static_cast<double>(exact[i]), 1e-5 * static_cast<double>(largest));
    EXPECT_EQ(sum, add(units, 30, 3, true, ComputeType::kBF16));
    EXPECT_NE(sum, add(units, 30, 1));
  }
}

TEST(HessianAdd, RoundsToEvenAtTheGivenExponent) {
  Sample x(1, 2, 0);
  x.values = {1.0F, -2.5F};
  EXPECT_EQ(add({x}, 0, 1), (std::vector<std::int64_t>{1, -2, 6}));
  EXPECT_EQ(add({x}, 2, 1), (std::vector<std::int64_t>{4, -10, 25}));
  EXPECT_EQ(add({x}, 48, 1),
            (std::vector<std::int64_t>{std::int64_t{1} << 48, -(std::int64_t{10} << 46), std::int64_t{25} << 46}));
}

TEST(HessianAdd, TakesRowsOfAWiderBuffer) {
  const Sample wide(50, 40, 3);
  Sample narrow(50, 33, 0);
  for (std::int64_t t = 0; t < 50; ++t) std::copy_n(wide.values.data() + t * 40, 33, narrow.values.data() + t * 33);
  const ConstMatrix view{wide.values.data(), 50, 33, 40, MemSpace::kHost};
  std::vector<std::int64_t> sum(33 * 34 / 2);
  make_cpu_backend(1)->hessian_add({&view, 1}, 20, sum);
  EXPECT_EQ(sum, add({narrow}, 20, 1));
}

TEST(DiagonalMax, IsTheLargestSquareSum) {
  const Sample x = sample_activations(77, 50, 2);
  const std::vector<float> h = sample_hessian(x);
  float largest = 0;
  std::size_t at = 0;
  for (std::size_t c = 0; c < 50; at += 50 - c, ++c) largest = std::max(largest, h[at]);
  EXPECT_FLOAT_EQ(cpu::diagonal_max(x.view()), largest);
  Sample broken = x;
  broken.at(3, 3) = NAN;
  EXPECT_TRUE(std::isnan(cpu::diagonal_max(broken.view())));
  broken.at(3, 3) = 1e30F;
  EXPECT_TRUE(std::isinf(cpu::diagonal_max(broken.view())));
}

}  // namespace
}  // namespace mpiquant
