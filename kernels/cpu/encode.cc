#include "kernels/cpu/encode.h"

#include <algorithm>
#include <numeric>

#include "kernels/codec/grids.h"
#include "kernels/codec/rows.h"
#include "kernels/cpu/panel.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

// Codecs that search a range for each group do so for all rows of a panel at once.
EncodedRows encode_panel(ConstMatrix weight, const CodecSpec& codec) {
  const std::int64_t cols = weight.cols;
  std::vector<std::int32_t> columns(static_cast<std::size_t>(cols));
  std::iota(columns.begin(), columns.end(), 0);
  std::vector<float> panel(static_cast<std::size_t>(cols * kPartRows));
  load_panel(weight, columns, panel.data());
  std::vector<std::uint8_t> codes(panel.size());
  std::vector<double> loss(kPartRows);
  std::vector<GroupLanes> groups(static_cast<std::size_t>(codec.groups(cols)));
  const std::int64_t group = codec.group_of(cols);
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::int64_t first = static_cast<std::int64_t>(g) * group;
    const std::int64_t n = std::min(group, cols - first);
    fit_columns(codec, panel.data() + first * kPartRows, n, groups[g]);
    round_columns(codec, panel.data() + first * kPartRows, n, groups[g], codes.data() + first * kPartRows, loss.data());
  }
  return collect(weight.rows, cols, codes, groups, loss);
}

template <typename T>
void append(std::vector<T>& out, const std::vector<T>& more) {
  out.insert(out.end(), more.begin(), more.end());
}

EncodedRows encode_panels(ConstMatrix weight, const CodecSpec& codec) {
  EncodedRows out;
  out.rows = weight.rows;
  out.cols = weight.cols;
  for (std::int64_t first = 0; first < weight.rows; first += kPartRows) {
    const EncodedRows part = encode_panel(weight.row_range(first, std::min(first + kPartRows, weight.rows)), codec);
    append(out.codes, part.codes);
    append(out.params, part.params);
    append(out.loss, part.loss);
    out.scale_underflows += part.scale_underflows;
    out.scale_overflows += part.scale_overflows;
  }
  return out;
}

}  // namespace

EncodedRows encode(ConstMatrix weight, const CodecSpec& codec) {
  expect_valid(codec);
  if (codec.mse) return encode_panels(weight, codec);
  const auto cols = static_cast<std::size_t>(weight.cols);
  const auto groups = static_cast<std::size_t>(codec.groups(weight.cols));
  const auto rows = static_cast<std::size_t>(weight.rows);
  EncodedRows out{0,
                  weight.rows,
                  weight.cols,
                  std::vector<std::uint8_t>(rows * cols),
                  std::vector<GroupParams>(rows * groups),
                  std::vector<double>(rows),
                  0,
                  0,
                  {}};
  for (std::size_t r = 0; r < rows; ++r) {
    const std::span<const float> row(weight.row(static_cast<std::int64_t>(r)), cols);
    check(codec::all_finite(row), ExitCode::kInput,
          "a weight is infinite or not a number (it has no code) repair the source model");
    const codec::RowError error = codec::round_row(codec, row, std::span(out.codes).subspan(r * cols, cols),
                                                   std::span(out.params).subspan(r * groups, groups));
    out.loss[r] = error.loss;
    out.scale_underflows += error.scale_underflows;
    out.scale_overflows += error.scale_overflows;
  }
  return out;
}

void decode(const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx, Matrix out) {
  const std::int64_t groups = codec.groups(rows.cols);
  expect(out.rows == rows.rows && out.cols == rows.cols && static_cast<std::int64_t>(g_idx.size()) == rows.cols,
         "decode [{},{}] with {} groups of columns to [{},{}]", rows.rows, rows.cols, g_idx.size(), out.rows, out.cols);
  codec::with_grid(codec, [&](const auto& grid) {
    for (std::int64_t r = 0; r < rows.rows; ++r) {
      const std::uint8_t* codes = rows.codes.data() + r * rows.cols;
      const GroupParams* params = rows.params.data() + r * groups;
      float* values = out.row(r);
      for (std::int64_t c = 0; c < rows.cols; ++c)
        values[c] = grid.value(static_cast<float>(codes[c]), params[g_idx[static_cast<std::size_t>(c)]]);
    }
  });
}

}  // namespace mpiquant::cpu
