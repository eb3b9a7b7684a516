#include "kernels/cpu/encode.h"

#include <algorithm>
#include <numeric>

#include "kernels/codec/grids.h"
#include "kernels/cpu/panel.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

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

}  // namespace

EncodedRows encode(ConstMatrix weight, const CodecSpec& codec) {
  expect_valid(codec);
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
