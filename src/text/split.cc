#include "src/text/split.h"

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/error.h"
#include "src/text/unicode.h"

namespace mpiquant {

namespace {

// Joins each match to the piece before it (in the order given), unless that piece was a match too.
std::vector<MatchRange> merge_with_previous(const std::vector<MatchRange>& ranges) {
  std::vector<MatchRange> joined;
  bool previous = false;
  for (const MatchRange& range : ranges) {
    if (range.match && !previous && !joined.empty()) {
      joined.back().begin = std::min(joined.back().begin, range.begin);
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
    previous = range.match;
  }
  return joined;
}

std::vector<MatchRange> merge_equal(const std::vector<MatchRange>& ranges) {
  std::vector<MatchRange> joined;
  for (const MatchRange& range : ranges) {
    if (!joined.empty() && joined.back().match == range.match) {
      joined.back().end = range.end;
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

std::vector<MatchRange> arrange(std::vector<MatchRange> ranges, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kIsolated: return ranges;
    case SplitBehavior::kRemoved: std::erase_if(ranges, [](const MatchRange& range) { return range.match; }); return ranges;
    case SplitBehavior::kContiguous: return merge_equal(ranges);
    case SplitBehavior::kMergedWithPrevious: return merge_with_previous(ranges);
    case SplitBehavior::kMergedWithNext: {
      std::reverse(ranges.begin(), ranges.end());
      ranges = merge_with_previous(ranges);
      std::reverse(ranges.begin(), ranges.end());
      return ranges;
    }
  }
  fail(ExitCode::kInternal, "internal error: unknown split behavior");
}

}  // namespace

SplitBehavior split_behavior(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kNames{{
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  }};
  for (const auto& [known, behavior] : kNames)
    if (name == known) return behavior;
  fail(ExitCode::kInput, "the tokenizer has an unknown split behavior \"{}\" (its token ids cannot be reproduced)", name);
}

void split_text(std::string_view text, bool at_start, const std::vector<MatchRange>& ranges, SplitBehavior behavior,
                const PieceSink& sink) {
  for (const MatchRange& range : arrange(ranges, behavior))
    if (range.begin < range.end) sink(text.substr(range.begin, range.end - range.begin), at_start && range.begin == 0);
}

std::vector<MatchRange> match_code_points(std::string_view text, bool (*predicate)(char32_t)) {
  std::vector<MatchRange> ranges;
  std::size_t last = 0;
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t begin = pos;
    if (!predicate(next_code_point(text, pos))) continue;
    if (last < begin) ranges.push_back({last, begin, false});
    ranges.push_back({begin, pos, true});
    last = pos;
  }
  if (last < text.size()) ranges.push_back({last, text.size(), false});
  return ranges;
}

}  // namespace mpiquant
