#include "kernels/cpu/factor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "src/base/error.h"
#include "tests/kernels/sample.h"

namespace mpiquant {
namespace {

Factor run(const std::vector<float>& h, std::int64_t cols, const FactorOptions& options, int threads = 1) {
  ThreadPool pool(threads);
  return cpu::factor(pool, h, cols, options);
}

double packed(const std::vector<float>& h, std::int64_t n, std::int64_t i, std::int64_t j) {
  if (i > j) std::swap(i, j);
  return static_cast<double>(h[static_cast<std::size_t>(i * n - i * (i - 1) / 2 + j - i)]);
}

double upper(const Factor& f, std::int64_t j, std::int64_t i) {
  const auto diagonal = static_cast<double>(f.diagonal[static_cast<std::size_t>(j)]);
  if (i < j) return 0;
  if (i == j) return diagonal;
  return diagonal * static_cast<double>(f.upper[static_cast<std::size_t>(j * (f.cols - 1) - j * (j - 1) / 2 + i - j - 1)]);
}

// Largest |(Uᵀ U (H + damping) - I)| for the H that was factored.
double defect(const Factor& f, const std::vector<float>& h, double damp) {
  const std::int64_t n = f.cols;
  const auto at = [&](std::int64_t i, std::int64_t j) {
    const std::int64_t a = f.visit[static_cast<std::size_t>(i)], b = f.visit[static_cast<std::size_t>(j)];
    return a == b && f.dead[static_cast<std::size_t>(a)] != 0 ? 1.0 : packed(h, n, a, b);
  };
  double mean = 0;
  for (std::int64_t i = 0; i < n; ++i) mean += at(i, i) / static_cast<double>(n);
  std::vector<double> uh(static_cast<std::size_t>(n * n));
  for (std::int64_t j = 0; j < n; ++j)
    for (std::int64_t i = j; i < n; ++i)
      for (std::int64_t c = 0; c < n; ++c)
        uh[static_cast<std::size_t>(j * n + c)] += upper(f, j, i) * (at(i, c) + (i == c ? damp * mean : 0));
  double worst = 0;
  for (std::int64_t r = 0; r < n; ++r)
    for (std::int64_t c = 0; c < n; ++c) {
      double sum = r == c ? -1 : 0;
      for (std::int64_t j = 0; j <= r; ++j) sum += upper(f, j, r) * uh[static_cast<std::size_t>(j * n + c)];
      worst = std::max(worst, std::abs(sum));
    }
  return worst;
}

TEST(Factor, IsTheUpperFactorOfTheInverse) {
  for (const std::int64_t cols : {1, 5, 128, 150}) {
    const std::vector<float> h = sample_hessian(sample_activations(2 * cols + 10, cols, 3, cols / 2));
    for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic}) {
      const Factor f = run(h, cols, {.order = order});
      EXPECT_EQ(f.retries, 0);
      EXPECT_EQ(f.damp_percent, 0.01);
      EXPECT_LT(defect(f, h, 0.01), 1e-4) << cols;
      if (cols > 1) {
        EXPECT_GT(defect(f, h, 0.02), 1e-3) << "a wrong damping must show";
      }
    }
  }
}

TEST(Factor, VisitsByFallingDiagonalAndBreaksTiesByColumn) {
  std::vector<float> h = {2, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 0, 5};  // diagonal 2, 5, 2, 0, 5
  const Factor f = run(h, 5, {.order = ActOrder::kDynamic});
  EXPECT_EQ(f.visit, (std::vector<std::int32_t>{1, 4, 0, 2, 3}));
  EXPECT_EQ(f.dead, (std::vector<std::uint8_t>{0, 0, 0, 1, 0}));
  EXPECT_EQ(run(h, 5, {.order = ActOrder::kNone}).visit, (std::vector<std::int32_t>{0, 1, 2, 3, 4}));
}

TEST(Factor, DoesNotDependOnThreads) {
  const std::vector<float> h = sample_hessian(sample_activations(400, 333, 8));
  const Factor one = run(h, 333, {}, 1);
  for (const int threads : {2, 3}) {
    const Factor more = run(h, 333, {}, threads);
    EXPECT_EQ(one.upper, more.upper);
    EXPECT_EQ(one.diagonal, more.diagonal);
  }
}

TEST(Factor, RaisesTheDampingWhereNeeded) {
  // Diagonal 1 and 1, off-diagonal 1.055: positive definite from a damping of 0.055 on.
  const Factor f = run({1, 1.055F, 1}, 2, {.order = ActOrder::kNone, .damp_percent = 0.01, .damp_increment = 0.01});
  EXPECT_EQ(f.retries, 5);
  EXPECT_NEAR(f.damp_percent, 0.06, 1e-12);
}

ExitCode code_of(const std::vector<float>& h, std::int64_t cols, const FactorOptions& options) {
  try {
    run(h, cols, options);
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::kDone;
}

TEST(Factor, GivesUpAboveFullDamping) {
  EXPECT_EQ(code_of({1, 3, 1}, 2, {}), ExitCode::kGate);
  EXPECT_EQ(code_of({1, 1.99F, 1}, 2, {.order = ActOrder::kNone, .damp_percent = 0.1, .damp_increment = 0.1}), ExitCode::kDone);
  EXPECT_EQ(code_of({1, 1.5F, 1}, 2, {.order = ActOrder::kNone, .damp_percent = 0.1, .damp_increment = 0}), ExitCode::kGate);
  EXPECT_EQ(code_of({NAN, 0, 1}, 2, {}), ExitCode::kGate);
  EXPECT_EQ(code_of({1, NAN, 1}, 2, {}), ExitCode::kGate);
}

}  // namespace
}  // namespace mpiquant
