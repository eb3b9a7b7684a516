#include "kernels/cpu/factor.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

#include "src/base/error.h"

extern "C" void dpotrf_(const char* uplo, const blasint* n, double* a, const blasint* lda, blasint* info,
                        std::size_t uplo_length);

namespace mpiquant::cpu {
namespace {

// Square tiles; each is worked on by single-threaded BLAS calls whose shapes follow from `cols` alone.
constexpr std::int64_t kTile = 128;

blasint size(std::int64_t n) { return static_cast<blasint>(n); }

// The lower triangle of a dense row-major matrix in square tiles.
struct Tiled {
  std::vector<double> data;  // [n, n]
  std::int64_t n;

  std::int64_t count() const { return (n + kTile - 1) / kTile; }
  std::int64_t extent(std::int64_t tile) const { return std::min(kTile, n - tile * kTile); }
  double* at(std::int64_t tile_row, std::int64_t tile_column) { return data.data() + tile_row * kTile * n + tile_column * kTile; }
};

// L of A = L Lᵀ in place of the lower triangle; false when A is not positive definite.
bool cholesky(ThreadPool& pool, Tiled& a) {
  const std::int64_t count = a.count();
  for (std::int64_t k = 0; k < count; ++k) {
    const blasint order = size(a.extent(k)), ld = size(a.n);
    blasint info = 0;
    dpotrf_("U", &order, a.at(k, k), &ld, &info, 1);  // the column-major upper triangle is the row-major lower one
    if (info != 0) return false;
    pool.for_each(count - k - 1, [&](std::int64_t i) {
      const std::int64_t row = k + 1 + i;
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, size(a.extent(row)), order, 1.0, a.at(k, k),
                  ld, a.at(row, k), ld);
    });
    const std::int64_t rest = count - k - 1;
    pool.for_each(rest * (rest + 1) / 2, [&](std::int64_t i) {
      auto row = static_cast<std::int64_t>((std::sqrt(8.0 * static_cast<double>(i) + 1.0) - 1.0) / 2.0);
      while (row * (row + 1) / 2 > i) --row;
      while ((row + 1) * (row + 2) / 2 <= i) ++row;
      const std::int64_t column = k + 1 + i - row * (row + 1) / 2;
      row += k + 1;
      if (row == column)
        cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, size(a.extent(row)), order, -1.0, a.at(row, k), ld, 1.0,
                    a.at(row, row), ld);
      else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, size(a.extent(row)), size(a.extent(column)), order, -1.0,
                    a.at(row, k), ld, a.at(column, k), ld, 1.0, a.at(row, column), ld);
    });
  }
  return true;
}

// Writes what tile column `k` of X = L^-1 holds of the factor: U_ji = X at row n-1-j, column n-1-i.
void invert_column(Tiled& l, std::int64_t k, Factor& out) {
  const std::int64_t n = l.n, first = k * kTile, width = l.extent(k);
  std::vector<double> x(static_cast<std::size_t>((n - first) * width));  // rows first .. n-1 of the tile column
  for (std::int64_t c = 0; c < width; ++c) x[static_cast<std::size_t>(c * width + c)] = 1;
  for (std::int64_t row = k; row < l.count(); ++row) {
    double* target = x.data() + (row - k) * kTile * width;
    if (row > k)
      cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, size(l.extent(row)), size(width), size((row - k) * kTile), -1.0,
                  l.at(row, k), size(n), x.data(), size(width), 0.0, target, size(width));
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, size(l.extent(row)), size(width), 1.0,
                l.at(row, row), size(n), target, size(width));
  }
  for (std::int64_t r = first; r < n; ++r) {
    const std::int64_t j = n - 1 - r;
    const double pivot = l.data[static_cast<std::size_t>(r * n + r)];  // 1 / U_jj
    const std::int64_t packed = j * (n - 1) - j * (j - 1) / 2 - j - 1;
    for (std::int64_t c = first; c < std::min(first + width, r); ++c)
      out.upper[static_cast<std::size_t>(packed + n - 1 - c)] =
          static_cast<float>(x[static_cast<std::size_t>((r - first) * width + c - first)] * pivot);
    if (r < first + width) out.diagonal[static_cast<std::size_t>(j)] = static_cast<float>(1 / pivot);
  }
}

class PackedHessian {
 public:
  PackedHessian(std::span<const float> values, std::int64_t cols) : values_(values), cols_(cols) {}

  float at(std::int64_t i, std::int64_t j) const {
    if (i > j) std::swap(i, j);
    return values_[static_cast<std::size_t>(i * cols_ - i * (i - 1) / 2 + j - i)];
  }

 private:
  std::span<const float> values_;
  std::int64_t cols_;
};

}  // namespace

Factor factor(ThreadPool& pool, std::span<const float> hessian, std::int64_t cols, const FactorOptions& options) {
  expect(cols > 0 && static_cast<std::int64_t>(hessian.size()) == cols * (cols + 1) / 2, "a Hessian of {} values for {} columns",
         hessian.size(), cols);
  check(std::ranges::all_of(hessian, [](float value) { return std::isfinite(value); }), ExitCode::kGate,
        "the Hessian has infinite elements or such that are no numbers (calibration overflowed) check the source weights and the "
        "calibration data");
  const PackedHessian packed(hessian, cols);
  const auto n = static_cast<std::size_t>(cols);
  Factor out;
  out.cols = cols;
  out.order = options.order;
  out.dead.resize(n);
  std::vector<double> diagonal(n);
  for (std::size_t c = 0; c < n; ++c) {
    const float value = packed.at(static_cast<std::int64_t>(c), static_cast<std::int64_t>(c));
    check(value >= 0, ExitCode::kGate, "the Hessian has {} on its diagonal (it is no sum of squares) remove the kept Hessian",
          value);
    out.dead[c] = value == 0 ? 1 : 0;
    diagonal[c] = value == 0 ? 1 : static_cast<double>(value);
  }
  out.visit.resize(n);
  std::iota(out.visit.begin(), out.visit.end(), 0);
  if (options.order != ActOrder::kNone)
    std::stable_sort(out.visit.begin(), out.visit.end(), [&](std::int32_t a, std::int32_t b) {
      return diagonal[static_cast<std::size_t>(a)] > diagonal[static_cast<std::size_t>(b)];
    });
  const double mean = std::accumulate(diagonal.begin(), diagonal.end(), 0.0) / static_cast<double>(cols);

  Tiled a{std::vector<double>(n * n), cols};
  for (;; ++out.retries) {
    const double last = out.damp_percent;
    out.damp_percent = options.damp_percent + out.retries * options.damp_increment;
    check(out.damp_percent <= 1 + 1e-9 && (out.retries == 0 || out.damp_percent > last), ExitCode::kGate,
          "a Hessian of {} columns is not positive definite with damping up to {:g} (its linears cannot be quantized by GPTQ) "
          "use more "
          "calibration data, another damping, or another method for them",
          cols, last);
    pool.for_each(cols, [&](std::int64_t r) {  // reversed visiting order, so that L gives the upper factor of the inverse
      const std::int64_t row = out.visit[static_cast<std::size_t>(cols - 1 - r)];
      for (std::int64_t c = 0; c < r; ++c)
        a.data[static_cast<std::size_t>(r * cols + c)] =
            static_cast<double>(packed.at(row, out.visit[static_cast<std::size_t>(cols - 1 - c)]));
      a.data[static_cast<std::size_t>(r * cols + r)] = diagonal[static_cast<std::size_t>(row)] + out.damp_percent * mean;
    });
    if (cholesky(pool, a)) break;
  }
  out.diagonal.resize(n);
  out.upper.resize(n * (n - 1) / 2);
  pool.for_each(a.count(), [&](std::int64_t k) { invert_column(a, k, out); });
  return out;
}

}  // namespace mpiquant::cpu
