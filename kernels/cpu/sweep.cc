#include "kernels/cpu/sweep.h"

#include <algorithm>
#include <numeric>

#include "kernels/cpu/panel.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

// Errors are carried within kInner columns at once, within kOuter after each kInner, and beyond after each kOuter. Only speed
// depends on these.
constexpr std::int64_t kInner = 16;
constexpr std::int64_t kOuter = 128;

std::vector<GroupLanes> fit_original_groups(ConstMatrix weight, const CodecSpec& codec) {
  const std::int64_t group = codec.group_of(weight.cols);
  std::vector<GroupLanes> out(static_cast<std::size_t>(codec.groups(weight.cols)));
  std::vector<std::int32_t> columns;
  std::vector<float> panel(static_cast<std::size_t>(std::min(group, weight.cols) * kPartRows));
  for (std::size_t g = 0; g < out.size(); ++g) {
    const std::int64_t first = static_cast<std::int64_t>(g) * group;
    columns.resize(static_cast<std::size_t>(std::min(group, weight.cols - first)));
    std::iota(columns.begin(), columns.end(), static_cast<std::int32_t>(first));
    load_panel(weight, columns, panel.data());
    fit_columns(codec, panel.data(), static_cast<std::int64_t>(columns.size()), out[g]);
  }
  return out;
}

// Where the outer block from `begin` ends: a live group that does not fit begins the next block, because its parameters need
// weights that all earlier errors have reached.
std::int64_t outer_end(std::int64_t begin, std::int64_t cols, std::int64_t live_group) {
  const std::int64_t end = std::min(begin + kOuter, cols);
  if (live_group == 0 || end == cols || end % live_group == 0) return end;
  const std::int64_t start = end - end % live_group;  // of the group that end cuts
  return start > begin ? start : end;
}

}  // namespace

EncodedRows sweep(const SweepTask& task) {
  const Factor& factor = *task.factor;
  const std::int64_t cols = task.weight.cols;
  expect_valid(task.codec);
  expect(factor.cols == cols, "a factor of {} columns for a weight of {}", factor.cols, cols);
  const std::int64_t group = task.codec.group_of(cols);
  const bool live = factor.order != ActOrder::kStatic;

  std::vector<GroupLanes> groups(static_cast<std::size_t>(task.codec.groups(cols)));
  if (!live) groups = fit_original_groups(task.weight, task.codec);
  std::vector<float> panel(static_cast<std::size_t>(cols * kPartRows));
  load_panel(task.weight, factor.visit, panel.data());
  const auto column_of = [&](std::int64_t j) { return static_cast<std::int64_t>(factor.visit[static_cast<std::size_t>(j)]); };
  for (std::int64_t j = 0; j < cols; ++j)
    if (factor.dead[static_cast<std::size_t>(column_of(j))] != 0) std::fill_n(panel.data() + j * kPartRows, kPartRows, 0.0F);

  std::vector<std::uint8_t> codes(static_cast<std::size_t>(cols * kPartRows));
  std::vector<double> loss(kPartRows);
  const auto visit = [&](std::int64_t j) {
    const std::int64_t column = column_of(j);
    float* lanes = panel.data() + j * kPartRows;
    const auto g = static_cast<std::size_t>((live ? j : column) / group);
    if (live && j % group == 0) fit_columns(task.codec, lanes, std::min(group, cols - j), groups[g]);
    const auto diagonal = static_cast<double>(factor.diagonal[static_cast<std::size_t>(j)]);
    sweep_column(task.codec, groups[g], lanes, codes.data() + column * kPartRows, 0.5 / (diagonal * diagonal), loss.data());
  };
  const auto carry = [&](std::int64_t first, std::int64_t last, std::int64_t end) {
    update_columns(factor.upper, cols, first, last, last, end, panel.data());
  };

  for (std::int64_t outer = 0; outer < cols;) {
    const std::int64_t end = outer_end(outer, cols, live ? group : 0);
    for (std::int64_t inner = outer; inner < end;) {
      const std::int64_t next_group = live ? inner - inner % group + group : end;
      const std::int64_t inner_end = std::min({inner + kInner, end, next_group});
      for (std::int64_t j = inner; j < inner_end; ++j) {
        visit(j);
        carry(j, j + 1, inner_end);
      }
      carry(inner, inner_end, end);
      inner = inner_end;
    }
    carry(outer, end, cols);
    outer = end;
  }
  return collect(task.weight.rows, cols, codes, groups, loss);
}

}  // namespace mpiquant::cpu
