#include "kernels/cpu/hessian.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <vector>

#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

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

void add_tile(const MatMul& matmul, std::span<const Operand> units, double scale, std::int64_t row, std::int64_t column,
              std::span<std::int64_t> sum) {
  const std::int64_t cols = units.front().matrix.cols;
  const std::int64_t rows = std::min(matmul.gram_tile(), cols - row);
  const std::int64_t columns = std::min(matmul.gram_tile(), cols - column);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  const Matrix product{values.data(), rows, columns, columns, MemSpace::kHost};
  for (const Operand& x : units) {
    if (x.matrix.rows == 0) continue;
    matmul.gram(x, row, column, product);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t skip = row == column ? r : 0;  // below the diagonal
      add_rounded(product.row(r) + skip, scale, sum.data() + packed_row(row + r, cols) + column + skip - row - r, columns - skip);
    }
  }
}

// The rows [row, row + rows) and columns [column, column + columns) of the cross moments.
struct CrossTile {
  std::int64_t row, rows, column, columns;
};

// A unit's inputs x and what the original's differ from them by, y - x.
struct CrossUnit {
  std::vector<float> change;
  Operand difference, input;
};

CrossUnit cross_unit(const MatMul& matmul, ConstMatrix x, ConstMatrix y) {
  CrossUnit out;
  out.change.resize(static_cast<std::size_t>(x.rows * x.cols));
  for (std::int64_t t = 0; t < x.rows; ++t)
    std::transform(y.row(t), y.row(t) + x.cols, x.row(t), out.change.begin() + t * x.cols, std::minus<>());
  out.difference = matmul.operand({out.change.data(), x.rows, x.cols, x.cols, MemSpace::kHost});
  out.input = matmul.operand(x);
  return out;
}

void add_cross_tile(const MatMul& matmul, std::span<const CrossUnit> units, const CrossTile& tile, double scale,
                    std::span<std::int64_t> sum) {
  std::vector<float> values(static_cast<std::size_t>(tile.rows * tile.columns));
  for (const CrossUnit& unit : units) {
    const ConstMatrix& x = unit.input.matrix;
    if (x.rows == 0) continue;
    matmul.cross(unit.difference, tile.row, unit.input, tile.column,
                 {values.data(), tile.rows, tile.columns, tile.columns, MemSpace::kHost});
    for (std::int64_t r = 0; r < tile.rows; ++r)
      add_rounded(values.data() + r * tile.columns, scale, sum.data() + (tile.row + r) * x.cols + tile.column, tile.columns);
  }
}

// Units that are held in the compute type at a time: one for each thread, more if they are small.
std::size_t units_at_once(const ThreadPool& pool, const ConstMatrix& unit) {
  constexpr std::int64_t kHeldElements = std::int64_t{2} << 20;
  return static_cast<std::size_t>(
      std::max<std::int64_t>(pool.size(), kHeldElements / std::max<std::int64_t>(1, unit.rows * unit.cols)));
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

void hessian_add(ThreadPool& pool, const MatMul& matmul, std::span<const ConstMatrix> units, int exponent,
                 std::span<std::int64_t> sum) {
  if (units.empty()) return;
  const std::int64_t cols = units.front().cols;
  for (const ConstMatrix& x : units) expect(x.cols == cols, "hessian_add: units of {} and {} columns", cols, x.cols);
  expect(static_cast<std::int64_t>(sum.size()) == cols * (cols + 1) / 2, "hessian_add: {} sums for {} columns", sum.size(), cols);
  const double scale = std::ldexp(1.0, exponent);
  struct Tile {
    std::int64_t row, column;
  };
  std::vector<Tile> tiles;
  const std::int64_t tile = matmul.gram_tile();
  for (std::int64_t row = 0; row < cols; row += tile)
    for (std::int64_t column = row; column < cols; column += tile) tiles.push_back({row, column});
  const std::size_t step = units_at_once(pool, units.front());
  for (std::size_t first = 0; first < units.size(); first += step) {
    const auto group = units.subspan(first, std::min(step, units.size() - first));
    std::vector<Operand> operands(group.size());
    pool.for_each(static_cast<std::int64_t>(group.size()), [&](std::int64_t i) {
      operands[static_cast<std::size_t>(i)] = matmul.operand(group[static_cast<std::size_t>(i)]);
    });
    pool.for_each(static_cast<std::int64_t>(tiles.size()), [&](std::int64_t i) {
      const Tile& at = tiles[static_cast<std::size_t>(i)];
      add_tile(matmul, operands, scale, at.row, at.column, sum);
    });
  }
}

void cross_add(ThreadPool& pool, const MatMul& matmul, std::span<const ConstMatrix> units, std::span<const ConstMatrix> originals,
               int exponent, std::span<std::int64_t> sum) {
  constexpr std::int64_t kRows = 192, kColumns = 768;
  expect(units.size() == originals.size(), "cross_add: {} units, {} originals", units.size(), originals.size());
  if (units.empty()) return;
  const std::int64_t cols = units.front().cols;
  for (std::size_t i = 0; i < units.size(); ++i)
    expect(units[i].cols == cols && originals[i].cols == cols && originals[i].rows == units[i].rows,
           "cross_add: units of other shapes");
  expect(static_cast<std::int64_t>(sum.size()) == cols * cols, "cross_add: {} sums for {} columns", sum.size(), cols);
  std::vector<CrossTile> tiles;
  for (std::int64_t row = 0; row < cols; row += kRows)
    for (std::int64_t column = 0; column < cols; column += kColumns)
      tiles.push_back({row, std::min(kRows, cols - row), column, std::min(kColumns, cols - column)});
  const double scale = std::ldexp(1.0, exponent);
  const std::size_t step = units_at_once(pool, units.front());
  for (std::size_t first = 0; first < units.size(); first += step) {
    std::vector<CrossUnit> group(std::min(step, units.size() - first));
    pool.for_each(static_cast<std::int64_t>(group.size()), [&](std::int64_t i) {
      const auto at = static_cast<std::size_t>(i);
      group[at] = cross_unit(matmul, units[first + at], originals[first + at]);
    });
    pool.for_each(static_cast<std::int64_t>(tiles.size()),
                  [&](std::int64_t i) { add_cross_tile(matmul, group, tiles[static_cast<std::size_t>(i)], scale, sum); });
  }
}

}  // namespace mpiquant::cpu
