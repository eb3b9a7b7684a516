// The bodies of the GPU's Hessian and factor kernels, run on the host, against the CPU's.
#include <gtest/gtest.h>

#include <cblas.h>

#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

#include "kernels/block/forward.h"
#include "kernels/block/hessian.h"
#include "kernels/block/host_executor.h"
#include "kernels/cpu/factor.h"
#include "kernels/cpu/hessian.h"
#include "tests/kernels/sample.h"

extern "C" {
void dpotrf_(const char* uplo, const int* n, double* a, const int* lda, int* info, std::size_t length);
void dtrtri_(const char* uplo, const char* diag, const int* n, double* a, const int* lda, int* info, std::size_t, std::size_t);
}

namespace mpiquant::block {
namespace {

TEST(TrianglePanels, CoverEveryElementOfTheTriangleOnce) {
  for (const std::int64_t cols : {1, 1023, 1024, 1025, 4096, 5000}) {
    std::int64_t next = 0, elements = 0;
    for (std::int64_t i = 0; i < panel_count(cols); ++i) {
      const TrianglePanel p = panel(i, cols);
      EXPECT_EQ(p.begin, next);
      EXPECT_GT(p.end, p.begin);
      next = p.end;
      for (std::int64_t r = p.begin; r < p.end; ++r) elements += cols - r;
    }
    EXPECT_EQ(next, cols);
    EXPECT_EQ(elements, cols * (cols + 1) / 2);
  }
}

TEST(PackedTriangle, IndexesAreThoseOfTheLayouts) {
  const std::int64_t cols = 7;
  std::int64_t with = 0, without = 0;
  for (std::int64_t r = 0; r < cols; ++r)
    for (std::int64_t c = r; c < cols; ++c) {
      EXPECT_EQ(packed_row(r, cols) + c - r, with++);
      if (c > r) {
        EXPECT_EQ(strict_row(r, cols) + c, without++);
      }
    }
}

// Sums of units by panels of the given height, as the backend makes them.
template <typename Element>
std::vector<std::int64_t> sums(const std::vector<Sample>& units, int exponent, std::int64_t height, ThreadOrder order) {
  const std::int64_t cols = units.front().cols;
  std::vector<std::int64_t> sum(static_cast<std::size_t>(cols * (cols + 1) / 2));
  for (const Sample& unit : units) {
    const std::int64_t ld = cols + 3;
    std::vector<Element> x(static_cast<std::size_t>(unit.rows * ld));
    for (std::int64_t t = 0; t < unit.rows; ++t)
      for (std::int64_t c = 0; c < cols; ++c)
        from_float(unit.values[static_cast<std::size_t>(t * cols + c)], x[static_cast<std::size_t>(t * ld + c)]);
    for (std::int64_t begin = 0; begin < cols; begin += height) {
      const std::int64_t rows = std::min(height, cols - begin), width = cols - begin;
      std::vector<float> product(static_cast<std::size_t>(rows * width));
      run_on_host(PanelProduct<Element>{x.data(), ld, unit.rows, begin, rows, width, product.data(), width}, order);
      run_on_host(
          ForEachElement<AddRoundedOp>{{product.data(), width, std::ldexp(1.0, exponent), begin, cols, sum.data()}, rows, width},
          order);
    }
  }
  return sum;
}

TEST(BlockHessian, SumsUnitsLikeTheCpu) {
  for (const std::int64_t cols : {1, 33, 100}) {
    std::vector<Sample> units;
    for (unsigned seed = 1; seed <= 2; ++seed) units.push_back(sample_activations(40 + 11 * seed, cols, seed));
    std::vector<ConstMatrix> views;
    for (const Sample& unit : units) views.push_back(unit.view());
    std::vector<std::int64_t> expected(static_cast<std::size_t>(cols * (cols + 1) / 2));
    make_cpu_backend(1)->hessian_add(views, 30, expected);
    const auto actual = sums<float>(units, 30, 64, ThreadOrder::kForward);
    EXPECT_EQ(actual, sums<float>(units, 30, 64, ThreadOrder::kBackward));
    const double largest = static_cast<double>(*std::max_element(expected.begin(), expected.end()));
    for (std::size_t i = 0; i < expected.size(); ++i)
      ASSERT_LE(std::abs(static_cast<double>(actual[i] - expected[i])), 1e-5 * largest) << i;
  }
}

TEST(BlockHessian, ProductsOfBf16AreExact) {
  // Integers of 8 bits: every product and sum has an exact fp32 value, in any order.
  Sample x(50, 40, 1);
  for (float& value : x.values) value = std::nearbyint(value * 40);
  const auto bf16 = sums<Bf16>({x}, 0, 16, ThreadOrder::kForward);
  std::size_t at = 0;
  for (std::int64_t i = 0; i < 40; ++i)
    for (std::int64_t j = i; j < 40; ++j) {
      std::int64_t sum = 0;
      for (std::int64_t t = 0; t < 50; ++t) sum += static_cast<std::int64_t>(x.at(t, i)) * static_cast<std::int64_t>(x.at(t, j));
      ASSERT_EQ(bf16[at++], sum);
    }
}

TEST(BlockHessian, RoundsToEvenAtTheGivenExponent) {
  Sample x(1, 2, 0);
  x.values = {1.0F, -2.5F};
  EXPECT_EQ(sums<float>({x}, 0, 64, ThreadOrder::kForward), (std::vector<std::int64_t>{1, -2, 6}));
  EXPECT_EQ(sums<float>({x}, 48, 64, ThreadOrder::kForward),
            (std::vector<std::int64_t>{std::int64_t{1} << 48, -(std::int64_t{10} << 46), std::int64_t{25} << 46}));
}

TEST(BlockHessian, SumBecomesFloatByOneRounding) {
  const std::vector<std::int64_t> sum = {0, (std::int64_t{1} << 24) + 1, (std::int64_t{1} << 61) + (std::int64_t{1} << 37) + 1,
                                         -3};
  std::vector<float> out(sum.size());
  run_on_host(
      ForEachElement<RoundSumOp>{{sum.data(), std::ldexp(1.0, -20), out.data()}, 1, static_cast<std::int64_t>(sum.size())});
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(out[i], std::ldexp(static_cast<float>(sum[i]), -20)) << i;
}

TEST(BlockColumnSquares, LargestIsTheDiagonalOfTheCpu) {
  Sample x = sample_activations(77, 50, 2);
  const auto largest = [&](ThreadOrder order) {
    std::vector<float> out(50);
    run_on_host(ColumnSquares<float>{x.values.data(), 50, 77, 50, out.data()}, order);
    return *std::max_element(out.begin(), out.end(), [](float a, float b) { return !(b <= a); });
  };
  EXPECT_FLOAT_EQ(largest(ThreadOrder::kForward), cpu::diagonal_max(x.view()));
  EXPECT_EQ(largest(ThreadOrder::kBackward), largest(ThreadOrder::kForward));
}

// The kernels around the solver's two calls, which LAPACK takes over here.
TEST(BlockFactor, EqualsTheCpuFactor) {
  for (const std::int64_t cols : {1, 5, 150}) {
    const std::vector<float> h = sample_hessian(sample_activations(2 * cols + 10, cols, 3, cols / 2));
    ThreadPool pool(1);
    const Factor expected = cpu::factor(pool, h, cols, {.order = ActOrder::kStatic});
    std::vector<double> diagonal;
    double mean = 0;
    for (std::int64_t c = 0; c < cols; ++c) {
      const auto value = static_cast<double>(h[static_cast<std::size_t>(packed_row(c, cols))]);
      diagonal.push_back(value == 0 ? 1 : value);
      mean += diagonal.back() / static_cast<double>(cols);
    }
    std::vector<double> a(static_cast<std::size_t>(cols * cols)), pivots(static_cast<std::size_t>(cols));
    run_on_host(ForEachElement<ReversedHessianOp<double>>{
        {h.data(), expected.visit.data(), diagonal.data(), 0.01 * mean, cols, a.data()}, cols, cols});
    const int n = static_cast<int>(cols);
    int info = 0;
    dpotrf_("U", &n, a.data(), &n, &info, 1);
    ASSERT_EQ(info, 0);
    run_on_host(ForEachElement<PivotOp<double>>{{a.data(), cols, pivots.data()}, 1, cols});
    dtrtri_("U", "N", &n, a.data(), &n, &info, 1, 1);
    ASSERT_EQ(info, 0);
    std::vector<float> upper(expected.upper.size()), out_diagonal(expected.diagonal.size());
    run_on_host(ForEachElement<FactorOp<double>>{{a.data(), pivots.data(), cols, upper.data(), out_diagonal.data()}, cols, cols});
    for (std::size_t i = 0; i < upper.size(); ++i) ASSERT_NEAR(upper[i], expected.upper[i], 1e-6) << i;
    for (std::size_t i = 0; i < out_diagonal.size(); ++i)
      ASSERT_NEAR(out_diagonal[i], expected.diagonal[i], 1e-6 * std::abs(expected.diagonal[i])) << i;
  }
}

}  // namespace
}  // namespace mpiquant::block
