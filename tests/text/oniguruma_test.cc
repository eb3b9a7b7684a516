#include "src/text/oniguruma.h"

#include <gmock/gmock.h>

#include "src/text/regex.h"
#include "tests/text/text_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> matches(const std::string& pattern, const std::string& text) {
  std::vector<std::string> found;
  for (const MatchRange& range : Regex(pattern).find_matches(text))
    if (range.match) found.push_back(text.substr(range.begin, range.end - range.begin));
  return found;
}

TEST(Oniguruma, CharacterTypes) {
  EXPECT_THAT(matches("\\s", "a \u00a0\u2003\u180e\u0085b"), ElementsAre(" ", "\u00a0", "\u2003", "\u0085"));
  EXPECT_THAT(matches("[\\S]+", " ab\u180e\u3000"), ElementsAre("ab\u180e"));
  EXPECT_THAT(matches("\\d", "1\u0663\u00bd"), ElementsAre("1", "\u0663"));
  EXPECT_THAT(matches("\\h+", "0aFg"), ElementsAre("0aF"));
  EXPECT_THAT(matches("\\w+", "a_\u0301\u2167 \u00bd"), ElementsAre("a_\u0301\u2167", "\u00bd"));
  EXPECT_THAT(matches("\\v", "\n\x0b"), ElementsAre("\x0b"));
}

TEST(Oniguruma, UnicodeSixteen) {
  EXPECT_THAT(matches("\\p{L}+", "a\U00031350b"), ElementsAre("a\U00031350b"));
  EXPECT_THAT(matches("\\P{L}+", "a\U000313501"), ElementsAre("1"));
  EXPECT_THAT(matches("\\p{^L}+", "a\U000313501"), ElementsAre("1"));
  EXPECT_THAT(matches("\\p{N}", "\U0001E4F0"), ElementsAre("\U0001E4F0"));
  EXPECT_THAT(matches("\\p{Han}+", "a\u6f22\U00031350\u3042"), ElementsAre("\u6f22\U00031350"));
}

TEST(Oniguruma, Classes) {
  EXPECT_THAT(matches("[^(\\s|[.,])]+", "ab(c d.e"), ElementsAre("ab", "c", "d", "e"));
  EXPECT_THAT(matches("[\\p{L}&&[^\\p{Lu}]]+", "abCde"), ElementsAre("ab", "de"));
  EXPECT_THAT(matches("[\\x41\\u00e9\\x{1F642}]", "A\u00e9\U0001F642"), ElementsAre("A", "\u00e9", "\U0001F642"));
}

TEST(Oniguruma, RepeatsAndOptions) {
  EXPECT_THAT(matches("a{2}+", "aaaaa"), ElementsAre("aaaa"));
  EXPECT_THAT(matches("(?:ab){1,2}+c", "ababababc"), ElementsAre("ababababc"));
  EXPECT_THAT(matches("a{,2}b", "aaab"), ElementsAre("aab"));
  EXPECT_THAT(matches("a{x", "a{x"), ElementsAre("a{x"));
  EXPECT_THAT(matches("(?i:'s)", "'S '\u017f"), ElementsAre("'S", "'\u017f"));
  EXPECT_THAT(matches("a.", "a\nab"), ElementsAre("ab"));
  EXPECT_THAT(matches("(?m:a.)", "a\nab"), ElementsAre("a\n", "ab"));
  EXPECT_THAT(matches("^b$", "a\nb\nc"), ElementsAre("b"));
}

TEST(Oniguruma, EmptyMatchesBehindAMatchDoNotCount) {
  EXPECT_THAT(matches("a*", "aab"), ElementsAre("aa", ""));
  EXPECT_THAT(matches("x*", "\u00e9"), ElementsAre("", ""));
}

TEST(Oniguruma, WhatHasNoExactCounterpartIsRefused) {
  for (const auto& [pattern, named] : std::vector<std::pair<std::string, std::string>>{{"\\bx", "\\b"},
                                                                                       {"(?<name>x)", "group"},
                                                                                       {"(?x: a)", "group"},
                                                                                       {"\\p{Greek}", "Greek"},
                                                                                       {"[[:alpha:]]", "POSIX"},
                                                                                       {"[a[^b]]", "negated class"},
                                                                                       {"[\\P{L}]", "negated property"},
                                                                                       {"[a&&b]", "intersection"},
                                                                                       {"a{2}?", "lazy"},
                                                                                       {"\\xe9", "code point"},
                                                                                       {"(a)\\1", "\\1"},
                                                                                       {"[ab", "unfinished"},
                                                                                       {"a)", "unmatched"},
                                                                                       {"a\\", "escape"}}) {
    EXPECT_THAT(message_of(ExitCode::kInput, [&, pattern = pattern] { Regex regex(pattern); }), HasSubstr(named)) << pattern;
  }
}

TEST(Oniguruma, LongRunsDoNotExhaustTheStack) {
  const std::string text(1 << 20, 'a');
  EXPECT_EQ(matches("(?:a|b)+", text).size(), 1U);
}

}  // namespace
}  // namespace mpiquant
