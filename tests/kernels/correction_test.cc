#include "kernels/cpu/correction.h"

#include <gtest/gtest.h>

#include <cmath>

#include "src/quant/gptq.h"
#include "src/quant/hessian.h"
#include "tests/kernels/sample.h"
#include "tests/kernels/try_matmul.h"

namespace mpiquant {
namespace {

constexpr int kExponent = 30;

// Inputs of a block as the quantized model (x) and the original one (y) make them.
struct Inputs {
  std::vector<Sample> x, y;
};

Inputs make_inputs(std::int64_t cols, std::int64_t dead = -1) {
  Inputs out;
  for (unsigned seed = 1; seed <= 4; ++seed) {
    const std::int64_t tokens = 2 * cols + 11 * seed;
    out.x.push_back(sample_activations(tokens, cols, seed, dead));
    out.y.push_back(out.x.back());
    const Sample change(tokens, cols, 100 + seed);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t c = 0; c < cols; ++c)  // by chance, and in a way that another column tells
        out.y.back().at(t, c) += 0.1F * change.view().row(t)[c] + 0.1F * out.x.back().view().row(t)[(c + 3) % cols];
  }
  return out;
}

std::vector<ConstMatrix> views(const std::vector<Sample>& samples, const std::vector<std::size_t>& which) {
  std::vector<ConstMatrix> out;
  for (const std::size_t i : which) out.push_back(samples[i].view());
  return out;
}

std::vector<std::int64_t> moments(const Inputs& inputs, const std::vector<std::size_t>& which, int threads,
                                  ComputeType compute = ComputeType::kF32) {
  const std::int64_t cols = inputs.x.front().cols;
  std::vector<std::int64_t> sum(static_cast<std::size_t>(cols * cols));
  make_cpu_backend(threads, compute)->cross_add(views(inputs.x, which), views(inputs.y, which), kExponent, sum);
  return sum;
}

std::vector<double> exact_moments(const Inputs& inputs) {
  const std::int64_t n = inputs.x.front().cols;
  std::vector<double> out(static_cast<std::size_t>(n * n));
  for (std::size_t u = 0; u < inputs.x.size(); ++u)
    for (std::int64_t t = 0; t < inputs.x[u].rows; ++t)
      for (std::int64_t i = 0; i < n; ++i) {
        const double change =
            static_cast<double>(inputs.y[u].view().row(t)[i]) - static_cast<double>(inputs.x[u].view().row(t)[i]);
        for (std::int64_t j = 0; j < n; ++j)
          out[static_cast<std::size_t>(i * n + j)] += change * static_cast<double>(inputs.x[u].view().row(t)[j]);
      }
  return out;
}

std::vector<float> hessian_of(const Inputs& inputs) {
  std::vector<float> out = sample_hessian(inputs.x.front());
  for (std::size_t u = 1; u < inputs.x.size(); ++u) {
    const std::vector<float> h = sample_hessian(inputs.x[u]);
    for (std::size_t i = 0; i < h.size(); ++i) out[i] += h[i];
  }
  return out;
}

class CrossAdd : public testing::TestWithParam<ComputeType> {
 protected:
  void SetUp() override {
    if (!try_matmul(GetParam())) GTEST_SKIP() << "this processor has no instructions for products in bf16";
  }
};

// Differences that were rounded before they are taken would miss by a tenth.
TEST_P(CrossAdd, SumsProductsOfDifferences) {
  const double tolerance = GetParam() == ComputeType::kF32 ? 1e-5 : 4e-3;
  for (const std::int64_t cols : {1, 64, 200}) {
    const Inputs inputs = make_inputs(cols);
    const std::vector<double> exact = exact_moments(inputs);
    const std::vector<std::int64_t> sum = moments(inputs, {0, 1, 2, 3}, 1, GetParam());
    double largest = 0;
    for (const double value : exact) largest = std::max(largest, std::abs(value));
    for (std::size_t i = 0; i < exact.size(); ++i)
      ASSERT_NEAR(std::ldexp(static_cast<double>(sum[i]), -kExponent), exact[i], tolerance * largest) << i;
  }
}

TEST_P(CrossAdd, DependsOnNeitherThreadsNorOrder) {
  const Inputs inputs = make_inputs(200);
  const std::vector<std::int64_t> sum = moments(inputs, {0, 1, 2, 3}, 1, GetParam());
  EXPECT_EQ(sum, moments(inputs, {3, 1, 0, 2}, 3, GetParam()));
  std::vector<std::int64_t> split = moments(inputs, {0, 2}, 2, GetParam());
  const std::vector<std::int64_t> rest = moments(inputs, {1, 3}, 1, GetParam());
  std::transform(split.begin(), split.end(), rest.begin(), split.begin(), std::plus<>());
  EXPECT_EQ(sum, split);
}

INSTANTIATE_TEST_SUITE_P(Types, CrossAdd, testing::Values(ComputeType::kF32, ComputeType::kBF16));

// D (H + damping) = alpha Σ(y - x)xᵀ, whatever the order in which the factor visits columns.
TEST(Correction, SolvesItsEquation) {
  constexpr std::int64_t kCols = 150, kDead = 7;
  constexpr double kAlpha = 0.5, kDamping = 0.02;
  const Inputs inputs = make_inputs(kCols, kDead);
  const std::vector<float> hessian = hessian_of(inputs);
  const std::vector<std::int64_t> sum = moments(inputs, {0, 1, 2, 3}, 1);
  const auto h = [&](std::int64_t i, std::int64_t j) {
    if (i > j) std::swap(i, j);
    if (i == j && i == kDead) return 1.0;
    return static_cast<double>(hessian[static_cast<std::size_t>(i * kCols - i * (i - 1) / 2 + j - i)]);
  };
  double mean = 0;
  for (std::int64_t i = 0; i < kCols; ++i) mean += h(i, i) / kCols;
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic}) {
    const auto backend = make_cpu_backend(1);
    const Factor factor = backend->factor(hessian, kCols, {.order = order, .damp_percent = kDamping});
    const BackendBuffer out = backend->correction(factor, sum, kExponent, kAlpha);
    const Matrix d = out.matrix(kCols, kCols);  // transposed
    double worst = 0, largest = 0;
    for (std::int64_t i = 0; i < kCols; ++i)
      for (std::int64_t j = 0; j < kCols; ++j) {
        double product = 0;
        for (std::int64_t k = 0; k < kCols; ++k)
          product += static_cast<double>(d.row(k)[i]) * (h(k, j) + (k == j ? kDamping * mean : 0));
        const double moment = kAlpha * std::ldexp(static_cast<double>(sum[static_cast<std::size_t>(i * kCols + j)]), -kExponent);
        worst = std::max(worst, std::abs(product - moment));
        largest = std::max(largest, std::abs(moment));
      }
    EXPECT_LT(worst, 1e-4 * largest) << "order " << static_cast<int>(order);
    const BackendBuffer again = make_cpu_backend(3)->correction(factor, sum, kExponent, kAlpha);
    EXPECT_TRUE(std::equal(out.data(), out.data() + out.bytes(), again.data()));
  }
}

// What is swept is W (I + D): its outputs on x are nearer to those of the original weights on y, before any rounding.
TEST(Correction, BringsOutputsNearToTheOriginal) {
  constexpr std::int64_t kCols = 96, kRows = 64;
  const Inputs inputs = make_inputs(kCols);
  const auto backend = make_cpu_backend(1);
  Factor factor = backend->factor(hessian_of(inputs), kCols, {.order = ActOrder::kStatic});
  const Sample weights(kRows, kCols, 5);
  const CodecSpec codec = int_codec(8, -1, false, DType::kF32);
  const auto error = [&](const Factor& with) {
    EncodedRows rows;
    backend->for_each(1, [&](Stream& stream, std::int64_t) {
      const ConstMatrix part = weights.view();
      rows = convert_gptq(*backend, stream, std::span(&part, 1), &with, codec).front();
    });
    Sample decoded(kRows, kCols, 1);
    const Matrix out{decoded.values.data(), kRows, kCols, kCols, MemSpace::kHost};
    backend->for_each(
        1, [&](Stream& stream, std::int64_t) { backend->decode(stream, rows, codec, std::vector<std::int32_t>(kCols, 0), out); });
    double sum = 0;
    for (std::size_t u = 0; u < inputs.x.size(); ++u)
      for (std::int64_t t = 0; t < inputs.x[u].rows; ++t)
        for (std::int64_t r = 0; r < kRows; ++r) {
          double difference = 0;
          for (std::int64_t c = 0; c < kCols; ++c)
            difference += static_cast<double>(weights.view().row(r)[c]) * static_cast<double>(inputs.y[u].view().row(t)[c]) -
                          static_cast<double>(out.row(r)[c]) * static_cast<double>(inputs.x[u].view().row(t)[c]);
          sum += difference * difference;
        }
    return sum;
  };
  const double without = error(factor);
  const std::vector<std::int64_t> sum = moments(inputs, {0, 1, 2, 3}, 1);
  factor.correction = std::make_shared<BackendBuffer>(backend->correction(factor, sum, kExponent, 1));
  const double with = error(factor);
  EXPECT_LT(with, 0.6 * without);
  factor.correction = std::make_shared<BackendBuffer>(backend->correction(factor, sum, kExponent, -1));
  EXPECT_GT(error(factor), without);  // what a wrong sign would do
}

}  // namespace
}  // namespace mpiquant
