#include "kernels/cpu/correction.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

// The factor U of (H + damping)^-1 = UᵀU in visiting order, as a dense matrix.
std::vector<float> dense_upper(ThreadPool& pool, const Factor& factor) {
  const std::int64_t n = factor.cols;
  std::vector<float> upper(static_cast<std::size_t>(n * n));
  pool.for_each(n, [&](std::int64_t j) {
    const float pivot = factor.diagonal[static_cast<std::size_t>(j)];
    const float* row = factor.upper.data() + j * (n - 1) - j * (j - 1) / 2 - j - 1;
    upper[static_cast<std::size_t>(j * n + j)] = pivot;
    for (std::int64_t i = j + 1; i < n; ++i) upper[static_cast<std::size_t>(j * n + i)] = row[i] * pivot;
  });
  return upper;
}

}  // namespace

void correction(ThreadPool& pool, const Factor& factor, std::span<const std::int64_t> sum, int exponent, double alpha,
                Matrix out) {
  constexpr std::int64_t kRows = 128;
  const std::int64_t n = factor.cols;
  expect(static_cast<std::int64_t>(sum.size()) == n * n && out.rows == n && out.cols == n, "correction: {} sums for {} columns",
         sum.size(), n);
  expect(factor.upper.size() == static_cast<std::size_t>(n * (n - 1) / 2), "correction: the factor is not on the host");
  const std::vector<float> upper = dense_upper(pool, factor);
  const std::vector<std::int32_t>& visit = factor.visit;
  const auto size = [](std::int64_t value) { return static_cast<blasint>(value); };
  pool.for_each((n + kRows - 1) / kRows, [&](std::int64_t tile) {
    const std::int64_t first = tile * kRows, rows = std::min(kRows, n - first);
    std::vector<float> values(static_cast<std::size_t>(rows * n));
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t* from = sum.data() + visit[static_cast<std::size_t>(first + r)] * n;
      for (std::int64_t c = 0; c < n; ++c)
        values[static_cast<std::size_t>(r * n + c)] =
            std::ldexp(static_cast<float>(from[visit[static_cast<std::size_t>(c)]]), -exponent);
    }
    const auto multiply = [&](CBLAS_TRANSPOSE transposed, float factor_of_all) {
      cblas_strmm(CblasRowMajor, CblasRight, CblasUpper, transposed, CblasNonUnit, size(rows), size(n), factor_of_all,
                  upper.data(), size(n), values.data(), size(n));
    };
    multiply(CblasTrans, static_cast<float>(alpha));
    multiply(CblasNoTrans, 1.0F);
    for (std::int64_t c = 0; c < n; ++c)
      for (std::int64_t r = 0; r < rows; ++r)
        out.row(visit[static_cast<std::size_t>(c)])[visit[static_cast<std::size_t>(first + r)]] =
            values[static_cast<std::size_t>(r * n + c)];
  });
}

}  // namespace mpiquant::cpu
