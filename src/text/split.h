#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

namespace mpiquant {

// A byte range [begin, end) of a text, which a pattern matched or passed over. Ranges cover a text in order, without gaps.
struct MatchRange {
  std::size_t begin;
  std::size_t end;
  bool match;
};

// What becomes of the matches of a pattern that splits a text (Hugging Face tokenizers, SplitDelimiterBehavior).
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// The behavior of a name such as "MergedWithNext"; unknown names are input errors.
SplitBehavior split_behavior(std::string_view name);

// Receives a piece of text, valid during the call, and whether it begins where the whole input begins.
using PieceSink = std::function<void(std::string_view piece, bool at_start)>;

// Joins or drops ranges as the behavior says and passes every non-empty piece of `text` on.
void split_text(std::string_view text, bool at_start, const std::vector<MatchRange>& ranges, SplitBehavior behavior,
                const PieceSink& sink);

// The ranges of `text` in which each code point that satisfies `predicate` is one match.
std::vector<MatchRange> match_code_points(std::string_view text, bool (*predicate)(char32_t));

}  // namespace mpiquant
