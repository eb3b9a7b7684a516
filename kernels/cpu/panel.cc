#include "kernels/cpu/panel.h"

#include <algorithm>
#include <cmath>

#include "src/base/error.h"

namespace mpiquant::cpu {

void load_panel(ConstMatrix weight, std::span<const std::int32_t> columns, float* panel) {
  expect(weight.rows <= kPartRows, "a panel of {} rows", weight.rows);
  constexpr std::size_t kTile =
      16;  // columns written together, a row's reads of a tile share cache lines when they are neighbours
  bool finite = true;
  for (std::size_t first = 0; first < columns.size(); first += kTile) {
    const std::size_t last = std::min(first + kTile, columns.size());
    for (std::int64_t r = 0; r < weight.rows; ++r) {
      const float* row = weight.row(r);
      for (std::size_t j = first; j < last; ++j) {
        const float w = row[columns[j]];
        finite = finite && std::isfinite(w);
        panel[static_cast<std::int64_t>(j) * kPartRows + r] = w;
      }
    }
    for (std::size_t j = first; j < last; ++j) {
      float* column = panel + static_cast<std::int64_t>(j) * kPartRows;
      std::fill(column + weight.rows, column + kPartRows, 0.0F);
    }
  }
  check(finite, ExitCode::kInput, "a weight is infinite or not a number (it has no code) repair the source model");
}

EncodedRows collect(std::int64_t rows, std::int64_t cols, std::span<const std::uint8_t> codes, std::span<const GroupLanes> groups,
                    std::span<const double> loss) {
  EncodedRows out;
  out.rows = rows;
  out.cols = cols;
  out.codes.resize(static_cast<std::size_t>(rows * cols));
  constexpr std::int64_t kTile = 64;  // columns; a tile of both arrays stays in the first cache
  for (std::int64_t first = 0; first < cols; first += kTile)
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = first; c < std::min(first + kTile, cols); ++c)
        out.codes[static_cast<std::size_t>(r * cols + c)] = codes[static_cast<std::size_t>(c * kPartRows + r)];
  out.params.reserve(static_cast<std::size_t>(rows) * groups.size());
  for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
    for (const GroupLanes& group : groups) {
      out.params.push_back({group.scale[r], group.offset[r]});
      out.scale_underflows += group.range[r] < 0 ? 1 : 0;
      out.scale_overflows += group.range[r] > 0 ? 1 : 0;
    }
  out.loss.assign(loss.begin(), loss.begin() + rows);
  return out;
}

}  // namespace mpiquant::cpu
