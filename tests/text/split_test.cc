#include "src/text/split.h"

#include <gmock/gmock.h>

#include "src/base/error.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> pieces_of(std::string_view text, SplitBehavior behavior) {
  std::vector<std::string> pieces;
  const auto is_dash = [](char32_t code) { return code == U'-'; };
  split_text(text, true, match_code_points(text, is_dash), behavior,
             [&](std::string_view piece, bool at_start) { pieces.push_back((at_start ? "^" : "") + std::string(piece)); });
  return pieces;
}

// The examples of Hugging Face's documentation of SplitDelimiterBehavior.
TEST(Split, Behaviors) {
  const std::string_view text = "the-final--countdown";
  EXPECT_THAT(pieces_of(text, SplitBehavior::kRemoved), ElementsAre("^the", "final", "countdown"));
  EXPECT_THAT(pieces_of(text, SplitBehavior::kIsolated), ElementsAre("^the", "-", "final", "-", "-", "countdown"));
  EXPECT_THAT(pieces_of(text, SplitBehavior::kMergedWithPrevious), ElementsAre("^the-", "final-", "-", "countdown"));
  EXPECT_THAT(pieces_of(text, SplitBehavior::kMergedWithNext), ElementsAre("^the", "-final", "-", "-countdown"));
  EXPECT_THAT(pieces_of(text, SplitBehavior::kContiguous), ElementsAre("^the", "-", "final", "--", "countdown"));
}

TEST(Split, Ends) {
  EXPECT_THAT(pieces_of("", SplitBehavior::kIsolated), ElementsAre());
  EXPECT_THAT(pieces_of("-", SplitBehavior::kRemoved), ElementsAre());
  EXPECT_THAT(pieces_of("-a-", SplitBehavior::kRemoved), ElementsAre("a"));
  EXPECT_THAT(pieces_of("-a-", SplitBehavior::kMergedWithNext), ElementsAre("^-a", "-"));
  EXPECT_THAT(pieces_of("-a-", SplitBehavior::kMergedWithPrevious), ElementsAre("^-", "a-"));
}

TEST(Split, Names) {
  EXPECT_EQ(split_behavior("MergedWithNext"), SplitBehavior::kMergedWithNext);
  EXPECT_THROW(split_behavior("merged"), Error);
}

}  // namespace
}  // namespace mpiquant
