#include "src/run/resume.h"

#include <iterator>

namespace mpiquant {

std::vector<StageStart> plan_starts(const std::vector<std::pair<std::int64_t, std::int64_t>>& stages,
                                    const std::set<std::int64_t>& committed, const std::set<std::int64_t>& snapshots) {
  std::vector<StageStart> starts(stages.size());
  bool awaited = false;  // by the stage after
  for (std::size_t s = stages.size(); s-- > 0;) {
    const auto [begin, end] = stages[s];
    std::int64_t left = begin;  // first layer that is not committed
    while (left < end && committed.contains(left)) ++left;
    StageStart& start = starts[s];
    start.first = end;
    start.sends = awaited;
    if (left == end && !awaited) continue;
    const auto after = snapshots.upper_bound(left);
    const std::int64_t last = after == snapshots.begin() ? 0 : *std::prev(after);
    const bool snapshot = last >= begin && last > 0;
    start.first = snapshot ? last : begin;
    start.from = snapshot ? HiddenFrom::kSnapshot : begin == 0 ? HiddenFrom::kEmbedding : HiddenFrom::kStageBefore;
    awaited = start.from == HiddenFrom::kStageBefore;
  }
  return starts;
}

}  // namespace mpiquant
