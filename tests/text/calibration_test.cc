#include "src/text/calibration.h"

#include <gmock/gmock.h>

#include <set>

#include "tests/text/text_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Ids = std::vector<std::int32_t>;

constexpr TokenLimits kLimits{2048, 512};

CalibrationText text_of(std::vector<std::string> strings) {
  TextSources sources;
  sources.strings = std::move(strings);
  return read_calibration_text(sources);
}

class CalibrationTest : public ::testing::Test {
 protected:
  CalibrationSet make(const CalibrationText& text, const CalibrationOptions& options, const TokenLimits& limits = kLimits) const {
    return make_calibration(text, *tokenizer_, options, limits);
  }
  Ids encode(std::string_view text) const { return tokenizer_->encode(text, false); }

  std::unique_ptr<Tokenizer> tokenizer_ = Tokenizer::load(bundled_model());
  std::string story_ = read_text_file(source_path("tests/models/tiny-llama/tokenizer_config.json"));
};

TEST_F(CalibrationTest, ConsecutiveWindowsOfAllDocuments) {
  const CalibrationSet set = make(text_of({story_, "second document"}), {.nsamples = 1000, .seqlen = 7});
  Ids all = encode(story_);
  const Ids second = encode("second document");
  all.insert(all.end(), second.begin(), second.end());
  ASSERT_EQ(set.samples.size(), all.size() / 7);
  for (std::size_t i = 0; i < set.samples.size(); ++i)
    EXPECT_EQ(set.samples[i],
              Ids(all.begin() + static_cast<std::ptrdiff_t>(7 * i), all.begin() + static_cast<std::ptrdiff_t>(7 * i + 7)));
  EXPECT_THAT(set.notes, ElementsAre(HasSubstr("of the 1000")));
  EXPECT_EQ(set.record.at("samples"), set.samples.size());
  EXPECT_EQ(set.record.at("tokens"), 7 * set.samples.size());
}

TEST_F(CalibrationTest, FirstWindowsWithoutBos) {
  const CalibrationSet set = make(text_of({story_}), {.nsamples = 2, .seqlen = 5});
  const Ids all = encode(story_);
  EXPECT_THAT(set.samples, ElementsAre(Ids(all.begin(), all.begin() + 5), Ids(all.begin() + 5, all.begin() + 10)));
  EXPECT_THAT(set.notes, IsEmpty());
}

TEST_F(CalibrationTest, BosAlwaysKeepsTheLength) {
  const CalibrationSet set = make(text_of({story_}), {.nsamples = 3, .seqlen = 5, .bos = BosMode::kAlways});
  const Ids all = encode(story_);
  ASSERT_EQ(set.samples.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    Ids expected{0};
    expected.insert(expected.end(), all.begin() + static_cast<std::ptrdiff_t>(4 * i),
                    all.begin() + static_cast<std::ptrdiff_t>(4 * i + 4));
    EXPECT_EQ(set.samples[i], expected);
  }
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { make(text_of({story_}), {.seqlen = 1, .bos = BosMode::kAlways}); }),
              HasSubstr("seqlen"));
}

TEST_F(CalibrationTest, OneSampleADocument) {
  const CalibrationText text = text_of({"one##two three four five six seven## \n##", "eight"});
  const CalibrationOptions options{.nsamples = 10, .seqlen = 4, .split_on = "##", .bos = BosMode::kNever};
  const CalibrationSet set = make(text, options);
  const Ids second = encode("two three four five six seven");
  EXPECT_THAT(set.samples, ElementsAre(encode("one"), Ids(second.begin(), second.begin() + 4), encode("eight")));
  CalibrationOptions with_bos = options;
  with_bos.bos = BosMode::kAuto;
  const Ids one = make(text, with_bos).samples.front();
  EXPECT_EQ(one, tokenizer_->encode("one", true));
  EXPECT_EQ(one.front(), tokenizer_->bos_id());
}

TEST_F(CalibrationTest, DocumentsAsTheyAre) {
  const CalibrationSet set = make(text_of({"a b", "c"}), {.split_on = "", .bos = BosMode::kNever});
  EXPECT_THAT(set.samples, ElementsAre(encode("a b"), encode("c")));
}

TEST_F(CalibrationTest, ShuffleDrawsWindowsBySeed) {
  const CalibrationText text = text_of({story_});
  const CalibrationOptions plain{.nsamples = 1000, .seqlen = 4};
  CalibrationOptions shuffled{.nsamples = 8, .seqlen = 4, .shuffle = true, .seed = 1};
  const auto all = make(text, plain).samples;
  const auto first = make(text, shuffled).samples;
  EXPECT_EQ(first, make(text, shuffled).samples);
  const std::set<Ids> windows(all.begin(), all.end());
  for (const Ids& sample : first) EXPECT_TRUE(windows.contains(sample));
  EXPECT_NE(first, std::vector<Ids>(all.begin(), all.begin() + 8));
  shuffled.seed = 2;
  EXPECT_NE(first, make(text, shuffled).samples);
  shuffled.nsamples = 1000;
  EXPECT_EQ(make(text, shuffled).samples.size(), all.size()) << "windows are drawn without repeats";
}

// The order of seed 7 is part of what a seed promises: it must not change with the library or the machine.
TEST_F(CalibrationTest, TheDrawIsPortable) {
  const CalibrationText documents = text_of({"a", "b", "c", "d", "e", "f", "g", "h"});
  const CalibrationSet set = make(documents, {.nsamples = 5, .split_on = "", .shuffle = true, .seed = 7, .bos = BosMode::kNever});
  std::string drawn;
  for (const Ids& sample : set.samples) drawn += tokenizer_->vocabulary().pieces[static_cast<std::size_t>(sample.front())];
  EXPECT_EQ(drawn, "hfceb");
}

TEST_F(CalibrationTest, CutToTheContext) {
  const CalibrationSet set = make(text_of({story_}), {.nsamples = 1, .seqlen = 2048}, {2048, 16});
  EXPECT_EQ(set.samples.front().size(), 16U);
  EXPECT_THAT(set.notes, ElementsAre(HasSubstr("16 instead of 2048")));
  EXPECT_EQ(set.record.at("key").at("seqlen"), 16);
}

TEST_F(CalibrationTest, Errors) {
  const CalibrationText text = text_of({"too short"});
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { make(text, {.nsamples = 3, .seqlen = 100}); }),
              HasSubstr("not one window of 100"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { make(text_of({" \n"}), {.split_on = ""}); }), HasSubstr("white space"));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { make(text, {.seqlen = 2}, {50, 512}); }), HasSubstr("vocabulary has 50"));
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { make(text, {.nsamples = 0}); }), HasSubstr("nsamples"));
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { make(text, {.seqlen = 0}); }), HasSubstr("seqlen"));
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { bos_mode("maybe"); }), HasSubstr("maybe"));
  const TemporaryFolder folder;
  write_tokenizer(folder, byte_tokenizer());
  const auto without_bos = Tokenizer::load(folder.path());
  const CalibrationOptions always{.seqlen = 2, .bos = BosMode::kAlways};
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { make_calibration(text_of({"ab"}), *without_bos, always, kLimits); }),
              HasSubstr("BOS"));
}

CalibrationSet ids_of(const std::string& json, const TokenLimits& limits = kLimits) {
  const TemporaryFolder folder;
  write_text_file(folder / "ids.json", json);
  return read_calibration_ids(folder / "ids.json", limits);
}

TEST(CalibrationIds, Json) {
  EXPECT_THAT(ids_of("[[1, 2, 3], [4]]").samples, ElementsAre(Ids{1, 2, 3}, Ids{4}));
  EXPECT_THAT(ids_of(R"({"input_ids": [[5]]})").samples, ElementsAre(Ids{5}));
  EXPECT_EQ(ids_of("[[1, 2, 3], [4]]").record.at("tokens"), 4);
  EXPECT_NE(ids_of("[[1]]").record.at("key"), ids_of("[[2]]").record.at("key"));
}

TEST(CalibrationIds, Errors) {
  for (const auto& [json, named] : std::vector<std::pair<std::string, std::string>>{{"[]", "no samples"},
                                                                                    {"[[]]", "empty"},
                                                                                    {"[1]", "not a list"},
                                                                                    {"{}", "no samples"},
                                                                                    {"[[1.5]]", "1.5"},
                                                                                    {"[[-1]]", "-1"},
                                                                                    {"[[2048]]", "2048"},
                                                                                    {"[[4294967297]]", "4294967297"},
                                                                                    {"[[\"a\"]]", "token id"}})
    EXPECT_THAT(message_of(ExitCode::kInput, [&, json = json] { ids_of(json); }), HasSubstr(named)) << json;
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { ids_of("[[1, 2, 3]]", {2048, 2}); }), HasSubstr("context 2"));
}

}  // namespace
}  // namespace mpiquant
