#include "kernels/cpu/hessian.h"

#include <cblas.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

constexpr std::int64_t kTile = 128;

MPIQUANT_MULTIVERSION void add_squares(const float* row, double* sums, std::int64_t n) {
  for (std::int64_t c = 0; c < n; ++c) sums[c] += static_cast<double>(row[c]) * static_cast<double>(row[c]);
}

// sum += round(values * scale), ties to even. Adding 1.5 * 2^52 leaves an integer in the low bits of the mantissa.
MPIQUANT_MULTIVERSION void add_rounded(const float* values, double scale, std::int64_t* sum, std::int64_t n) {
  constexpr double kShift = 6755399441055744.0;
  constexpr auto kShiftBits = std::bit_cast<std::int64_t>(kShift);
  for (std::int64_t i = 0; i < n; ++i)
    sum[i] += std::bit_cast<std::int64_t>(static_cast<double>(values[i]) * scale + kShift) - kShiftBits;
}

std::int64_t packed_row(std::int64_t row, std::int64_t cols) { return row * cols - row * (row - 1) / 2; }

void add_tile(std::span<const ConstMatrix> units, double scale, std::int64_t row, std::int64_t column, std::int64_t cols,
              std::span<std::int64_t> sum) {
  const std::int64_t rows = std::min(kTile, cols - row);
  const std::int64_t columns = std::min(kTile, cols - column);
  std::vector<float> product(static_cast<std::size_t>(rows * columns));
  for (const ConstMatrix& x : units) {
    if (x.rows == 0) continue;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<blasint>(rows), static_cast<blasint>(columns),
                static_cast<blasint>(x.rows), 1.0F, x.data + row, static_cast<blasint>(x.ld), x.data + column,
                static_cast<blasint>(x.ld), 0.0F, product.data(), static_cast<blasint>(columns));
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t skip = row == column ? r : 0;  // below the diagonal
      add_rounded(product.data() + r * columns + skip, scale, sum.data() + packed_row(row + r, cols) + column + skip - row - r,
                  columns - skip);
    }
  }
}

}  // namespace

float diagonal_max(ConstMatrix x) {
  std::vector<double> sums(static_cast<std::size_t>(x.cols));
  for (std::int64_t t = 0; t < x.rows; ++t) add_squares(x.row(t), sums.data(), x.cols);
  float largest = 0;
  for (const double sum : sums) {
    const auto value = static_cast<float>(sum);
    if (!std::isfinite(value)) return value;
    largest = std::max(largest, value);
  }
  return largest;
}

void hessian_add(ThreadPool& pool, std::span<const ConstMatrix> units, int exponent, std::span<std::int64_t> sum) {
  if (units.empty()) return;
  const std::int64_t cols = units.front().cols;
  for (const ConstMatrix& x : units) expect(x.cols == cols, "hessian_add: units of {} and {} columns", cols, x.cols);
  expect(static_cast<std::int64_t>(sum.size()) == cols * (cols + 1) / 2, "hessian_add: {} sums for {} columns", sum.size(), cols);
  const double scale = std::ldexp(1.0, exponent);
  struct Tile {
    std::int64_t row, column;
  };
  std::vector<Tile> tiles;
  for (std::int64_t row = 0; row < cols; row += kTile)
    for (std::int64_t column = row; column < cols; column += kTile) tiles.push_back({row, column});
  pool.for_each(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t i) {
    const Tile& tile = tiles[static_cast<std::size_t>(i)];
    add_tile(units, scale, tile.row, tile.column, cols, sum);
  });
}

}  // namespace mpiquant::cpu
