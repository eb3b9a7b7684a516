#include "src/text/added_tokens.h"

#include <gmock/gmock.h>

namespace mpiquant {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> pieces_of(const std::vector<AddedToken>& tokens, std::string_view text) {
  std::vector<std::string> pieces;
  for (const TextPiece& piece : AddedTokenFinder(tokens, false, nullptr).split(text))
    pieces.push_back((piece.token ? std::to_string(*piece.token) + ":" : "") + std::string(piece.text));
  return pieces;
}

TEST(AddedTokens, LeftmostThenLongest) {
  const std::vector<AddedToken> tokens{{.id = 1, .content = "ab"}, {.id = 2, .content = "abc"}, {.id = 3, .content = "bcd"}};
  EXPECT_THAT(pieces_of(tokens, "xabcdab"), ElementsAre("x", "2:abc", "d", "1:ab"));
  EXPECT_THAT(pieces_of(tokens, "bcd"), ElementsAre("3:bcd"));
  EXPECT_THAT(pieces_of(tokens, ""), ElementsAre());
  EXPECT_THAT(pieces_of({}, "ab"), ElementsAre("ab"));
}

TEST(AddedTokens, SwallowWhiteSpace) {
  const std::vector<AddedToken> tokens{{.id = 1, .content = "<l>", .lstrip = true}, {.id = 2, .content = "<r>", .rstrip = true}};
  EXPECT_THAT(pieces_of(tokens, "a \u3000<l> b"), ElementsAre("a", "1: \u3000<l>", " b"));
  EXPECT_THAT(pieces_of(tokens, "a <r> \n b"), ElementsAre("a ", "2:<r> \n ", "b"));
  EXPECT_THAT(pieces_of(tokens, "<r>  <l>"), ElementsAre("2:<r>  ", "1:<l>"));
}

TEST(AddedTokens, SingleWords) {
  const std::vector<AddedToken> tokens{{.id = 1, .content = "to", .single_word = true}};
  EXPECT_THAT(pieces_of(tokens, "to toto into to\u0301 (to)"), ElementsAre("1:to", " toto into to\u0301 (", "1:to", ")"));
}

}  // namespace
}  // namespace mpiquant
