// The GPU's Hessians and factors against the CPU's.
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "tests/gpu/gpu_support.h"

namespace mpiquant {
namespace {

using Sums = std::vector<std::int64_t>;

Sums add(Backend& backend, const std::vector<Sample>& units, int exponent) {
  std::vector<OnDevice> device;
  std::vector<ConstMatrix> views;
  for (const Sample& unit : units) views.push_back(device.emplace_back(backend, unit, 3).view());
  Sums sum(static_cast<std::size_t>(units.front().cols * (units.front().cols + 1) / 2));
  backend.hessian_add(views, exponent, sum);
  return sum;
}

// Integers of 8 bits, whose products and sums are exact in fp32.
std::vector<Sample> whole_units(std::int64_t cols) {
  std::vector<Sample> out;
  for (unsigned seed = 1; seed <= 5; ++seed) {
    out.emplace_back(30 + 17 * seed, cols, seed);
    for (float& value : out.back().values) value = std::nearbyint(value * 30);
  }
  return out;
}

TEST(GpuHessian, IsExactOnWholeNumbers) {
  const auto gpu = make_cuda_backend(test_gpu()), plain = make_cuda_backend(test_gpu(ComputeType::kBF16, true)),
             full = make_cuda_backend(test_gpu(ComputeType::kF32)), cpu = make_cpu_backend(1);
  for (const std::int64_t cols : {1, 33, 300, 1100}) {
    const std::vector<Sample> units = whole_units(cols);
    const Sums expected = add(*cpu, units, 3);
    EXPECT_EQ(add(*gpu, units, 3), expected) << cols;
    EXPECT_EQ(add(*plain, units, 3), expected) << cols;
    EXPECT_EQ(add(*full, units, 3), expected) << cols;
  }
}

TEST(GpuHessian, DependsOnNeitherOrderNorStreams) {
  const auto gpu = make_cuda_backend(test_gpu()), other = make_cuda_backend(test_gpu(ComputeType::kBF16, false, 4));
  std::vector<Sample> units;
  for (unsigned seed = 1; seed <= 4; ++seed) units.push_back(sample_activations(100 + 64 * seed, 1300, seed));
  const Sums sum = add(*gpu, units, 30);
  EXPECT_EQ(add(*gpu, units, 30), sum);
  std::reverse(units.begin(), units.end());
  EXPECT_EQ(add(*other, units, 30), sum);
}

TEST(GpuHessian, StaysOnTheDevice) {
  const auto gpu = make_cuda_backend(test_gpu());
  const std::vector<Sample> units = whole_units(70);
  const Sums expected = add(*gpu, units, 5);
  const BackendBuffer sum = gpu->hessian_zeros(70);
  for (const Sample& unit : units) {
    const OnDevice x(*gpu, unit);
    const ConstMatrix view = x.view();
    gpu->hessian_add_to({&view, 1}, 5, sum);
  }
  const std::vector<float> rounded = floats_of(*gpu, gpu->hessian_rounded(sum, 5));
  for (std::size_t i = 0; i < rounded.size(); ++i) ASSERT_EQ(rounded[i], std::ldexp(static_cast<float>(expected[i]), -5));
}

TEST(GpuDiagonalMax, EqualsTheCpu) {
  const auto gpu = make_cuda_backend(test_gpu(ComputeType::kF32));
  const auto cpu = make_cpu_backend(1);
  Sample x = sample_activations(777, 333, 2);
  const auto largest = [](Backend& backend, const Sample& values) {
    const OnDevice device(backend, values, 1);
    float out = 0;
    on_stream(backend, [&](Stream& s) { out = backend.diagonal_max(s, device.view()); });
    return out;
  };
  EXPECT_FLOAT_EQ(largest(*gpu, x), largest(*cpu, x));
  x.at(3, 3) = NAN;
  EXPECT_TRUE(std::isnan(largest(*gpu, x)));
  x.at(3, 3) = 1e30F;
  EXPECT_TRUE(std::isinf(largest(*gpu, x)));
}

class GpuFactor : public testing::TestWithParam<bool> {
 protected:
  static CudaOptions options() {
    CudaOptions out = test_gpu();
    out.double_factor = GetParam();
    return out;
  }
};

TEST_P(GpuFactor, EqualsTheCpu) {
  const auto gpu = make_cuda_backend(options());
  const auto cpu = make_cpu_backend(1);
  for (const std::int64_t cols : {1, 5, 128, 700}) {
    const std::vector<float> h = sample_hessian(sample_activations(2 * cols + 10, cols, 3, cols / 2));
    for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic}) {
      const Factor actual = gpu->factor(h, cols, {.order = order}), expected = cpu->factor(h, cols, {.order = order});
      EXPECT_EQ(actual.visit, expected.visit);
      EXPECT_EQ(actual.dead, expected.dead);
      EXPECT_EQ(actual.retries, expected.retries);
      EXPECT_EQ(actual.damp_percent, expected.damp_percent);
      const double bound = GetParam() ? 1e-6 : 2e-3;
      double worst = 0;
      const std::vector<float> upper = floats_of(*gpu, *actual.device_upper);
      ASSERT_EQ(upper.size(), expected.upper.size());
      for (std::size_t i = 0; i < expected.upper.size(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(upper[i]) - static_cast<double>(expected.upper[i])));
      EXPECT_LE(worst, bound) << cols;
      for (std::size_t i = 0; i < expected.diagonal.size(); ++i)
        ASSERT_NEAR(actual.diagonal[i] / expected.diagonal[i], 1, bound) << i;
    }
  }
}

TEST_P(GpuFactor, RaisesTheDampingAndGivesUpLikeTheCpu) {
  const auto gpu = make_cuda_backend(options());
  const Factor f = gpu->factor(std::vector<float>{1, 1.055F, 1}, 2, {.order = ActOrder::kNone});
  EXPECT_EQ(f.retries, 5);
  EXPECT_NEAR(f.damp_percent, 0.06, 1e-12);
  for (const std::vector<float>& bad : {std::vector<float>{1, 3, 1}, {NAN, 0, 1}, {1, NAN, 1}, {-1, 0, 1}})
    EXPECT_EQ(code_of([&] { gpu->factor(bad, 2, {}); }), ExitCode::kGate);
}

INSTANTIATE_TEST_SUITE_P(Types, GpuFactor, testing::Bool(), [](const auto& test) { return test.param ? "fp64" : "fp32"; });

}  // namespace
}  // namespace mpiquant
