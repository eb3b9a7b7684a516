#include "src/text/tokenizer.h"

#include <gmock/gmock.h>

#include <thread>

#include "tests/text/text_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

Ids encode(const Json& file, std::string_view text, bool special = false) {
  const TemporaryFolder folder;
  write_tokenizer(folder, file);
  return Tokenizer::load(folder.path())->encode(text, special);
}

std::string load_error(const Json& file) {
  const TemporaryFolder folder;
  write_tokenizer(folder, file);
  return message_of(ExitCode::kInput, [&] { Tokenizer::load(folder.path()); });
}

// Ids computed by the Python package tokenizers 0.23.3.
TEST(Tokenizer, BundledModel) {
  const auto tokenizer = Tokenizer::load(bundled_model());
  EXPECT_THAT(tokenizer->encode("Hello world", true), ElementsAre(0, 41, 490, 80, 447, 311));
  EXPECT_THAT(tokenizer->encode("Hello world", false), ElementsAre(41, 490, 80, 447, 311));
  const Ids mixed{280, 222, 1320, 784, 266, 408, 278, 80, 348, 222, 263, 129, 116, 83, 311, 8, 84, 389, 265, 222, 1, 689};
  EXPECT_EQ(tokenizer->encode("The 12345 h\u00e9llo\n\n  w\u00f6rld's end <|end|> x", false), mixed);
  EXPECT_THAT(tokenizer->encode("\u6f22\u5b57 \U0001F642", false), ElementsAre(164, 122, 97, 163, 257, 247, 1112, 249, 226));
  EXPECT_THAT(tokenizer->encode("", true), ElementsAre(0));
}

TEST(Tokenizer, VocabularyOfBundledModel) {
  const auto tokenizer = Tokenizer::load(bundled_model());
  const Vocabulary& vocabulary = tokenizer->vocabulary();
  EXPECT_EQ(tokenizer->vocab_size(), 2048);
  EXPECT_EQ(tokenizer->bos_id(), 0);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(vocabulary.kind, TokenizerKind::kByteLevelBpe);
  EXPECT_EQ(vocabulary.pieces[0], "<|begin|>");
  EXPECT_EQ(vocabulary.types[0], TokenType::kControl);
  EXPECT_EQ(vocabulary.types[300], TokenType::kNormal);
  EXPECT_EQ(vocabulary.merges.size(), 1790U);
  EXPECT_EQ(vocabulary.merges[0], (std::pair<std::string, std::string>("h", "e")));
  EXPECT_TRUE(vocabulary.add_bos);
  EXPECT_FALSE(vocabulary.add_eos);
  EXPECT_FALSE(vocabulary.add_prefix_space);
  EXPECT_EQ(vocabulary.pre_tokenizer.at("type"), "Sequence");
  EXPECT_EQ(tokenizer->content_hash().size(), 32U);
}

TEST(Tokenizer, InvalidUtf8NamesTheByte) {
  const auto tokenizer = Tokenizer::load(bundled_model());
  for (const std::string bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    const std::string message = message_of(ExitCode::kInput, [&] { tokenizer->encode("ab\u00e9" + bad, false); });
    EXPECT_THAT(message, HasSubstr("at byte 4 "));
  }
}

TEST(Tokenizer, SameFromManyThreads) {
  const auto tokenizer = Tokenizer::load(bundled_model());
  const std::string text = read_text_file(bundled_model() + "/tokenizer_config.json");
  const Ids expected = tokenizer->encode(text, true);
  std::vector<Ids> results(4);
  std::vector<std::thread> threads;
  for (Ids& result : results) threads.emplace_back([&] { result = tokenizer->encode(text, true); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& result : results) EXPECT_EQ(result, expected);
}

TEST(Tokenizer, MergesByRank) {
  EXPECT_THAT(encode(byte_tokenizer(), "ab ab aab"), ElementsAre(3, 4, 2, 0, 3));
  Json swapped = byte_tokenizer();
  swapped["model"]["merges"] = {"a b"};
  EXPECT_THAT(encode(swapped, "ab ab aab"), ElementsAre(3, 2, 3, 2, 0, 3));
}

TEST(Tokenizer, HashFollowsWhatDecidesAboutIds) {
  const auto hash = [](const Json& file, const std::string& config) {
    const TemporaryFolder folder;
    write_tokenizer(folder, file);
    write_text_file(folder / "tokenizer_config.json", config);
    return Tokenizer::load(folder.path())->content_hash();
  };
  const Json file = byte_tokenizer();
  Json other = file;
  other["model"]["merges"] = {"a b"};
  EXPECT_EQ(hash(file, "{}"), hash(file, "{}"));
  EXPECT_NE(hash(file, "{}"), hash(other, "{}"));
  EXPECT_NE(hash(file, "{}"), hash(file, R"({"bos_token": "a"})"));
}

TEST(Tokenizer, SpecialTokensOfTheConfiguration) {
  const TemporaryFolder folder;
  write_tokenizer(folder, byte_tokenizer());
  write_text_file(folder / "tokenizer_config.json", R"({"bos_token": {"content": "ab"}, "eos_token": null})");
  write_text_file(folder / "special_tokens_map.json", R"({"bos_token": "a", "eos_token": "b", "pad_token": "none"})");
  const auto tokenizer = Tokenizer::load(folder.path());
  EXPECT_EQ(tokenizer->bos_id(), 3);
  EXPECT_EQ(tokenizer->eos_id(), 1);
  EXPECT_EQ(tokenizer->vocabulary().pad, std::nullopt);
}

TEST(Tokenizer, UnknownPartsAreNamed) {
  const auto with = [](const char* part, Json value) {
    Json file = byte_tokenizer();
    file[part] = std::move(value);
    return load_error(file);
  };
  EXPECT_THAT(with("normalizer", {{"type", "Precompiled"}}), HasSubstr("\"Precompiled\""));
  EXPECT_THAT(with("pre_tokenizer", {{"type", "UnicodeScripts"}}), HasSubstr("\"UnicodeScripts\""));
  EXPECT_THAT(with("post_processor", {{"type", "Nonsense"}}), HasSubstr("\"Nonsense\""));
  EXPECT_THAT(
      with("pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Glob", "*"}}}, {"behavior", "Isolated"}, {"invert", false}}),
      HasSubstr("Glob"));
  EXPECT_THAT(
      with("pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "Dropped"}, {"invert", false}}),
      HasSubstr("\"Dropped\""));
  EXPECT_THAT(with("pre_tokenizer", {{"type", "Digits"}}), HasSubstr("individual_digits"));
}

TEST(Tokenizer, DamagedModelsAreRefused) {
  const auto with = [](const char* field, Json value) {
    Json file = byte_tokenizer();
    file["model"][field] = std::move(value);
    return load_error(file);
  };
  EXPECT_THAT(with("type", "Unigram"), HasSubstr("\"Unigram\""));
  EXPECT_THAT(with("dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(with("merges", {"a c"}), HasSubstr("c\""));  // the piece, or what it would make
  EXPECT_THAT(with("merges", {"a b c"}), HasSubstr("\"a b c\""));
  EXPECT_THAT(with("merges", {{"a", "b", "c"}}), HasSubstr("not two pieces"));
  EXPECT_THAT(with("vocab", {{"a", -1}}), HasSubstr("-1"));
  const auto without_merges = [](Json vocabulary) {
    Json file = byte_tokenizer();
    file["model"]["merges"] = Json::array();
    file["model"]["vocab"] = std::move(vocabulary);
    return load_error(file);
  };
  EXPECT_THAT(without_merges({{"a", 1}, {"b", 1}}), HasSubstr("same id"));
  EXPECT_THAT(without_merges({{"a", 2000000000}}), HasSubstr("largest id"));
  EXPECT_THAT(with("vocab", {{"a", {1}}}), HasSubstr("list"));
}

TEST(Tokenizer, RepeatedKeysAreRefused) {
  const TemporaryFolder folder;
  std::string text = byte_tokenizer().dump();
  text.replace(text.find("\"b\":1"), 5, "\"a\":1");
  write_text_file(folder / "tokenizer.json", text);
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { Tokenizer::load(folder.path()); }), HasSubstr("twice"));
}

TEST(Tokenizer, NoTokenizer) {
  const TemporaryFolder folder;
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { Tokenizer::load(folder.path()); }), HasSubstr("tokenizer.model"));
}

// Quadratic merging would take minutes.
TEST(Tokenizer, LongWordsAreMergedQuickly) {
  Json file = byte_tokenizer();
  file["pre_tokenizer"] = nullptr;
  std::string text;
  for (int i = 0; i < 500000; ++i) text += "ab";
  EXPECT_EQ(encode(file, text).size(), 500000U);
}

TEST(Tokenizer, SentencePieceModel) {
  const std::string folder = fixture_path("models/stories260K");
  if (folder.empty()) GTEST_SKIP() << "third-party fixtures are absent";
  const TemporaryFolder alone;
  std::filesystem::copy(folder + "/tokenizer.model", alone / "tokenizer.model");
  const auto spm = Tokenizer::load(alone.path());
  const auto json = Tokenizer::load(folder);
  const std::string text = "Once upon a time</s> there was \u00e9  a girl.\n";
  EXPECT_EQ(spm->encode(text, true), json->encode(text, true));
  EXPECT_EQ(spm->vocab_size(), 512);
  EXPECT_EQ(spm->bos_id(), 1);
  EXPECT_EQ(spm->vocabulary().kind, TokenizerKind::kSentencePieceBpe);
  EXPECT_EQ(spm->vocabulary().pieces, json->vocabulary().pieces);
  EXPECT_EQ(spm->vocabulary().types, json->vocabulary().types);
  EXPECT_EQ(spm->vocabulary().scores, json->vocabulary().scores);
  EXPECT_EQ(spm->vocabulary().types[5], TokenType::kByte);
  EXPECT_TRUE(json->vocabulary().add_prefix_space);
}

TEST(Tokenizer, SentencePieceWithoutLegacySpacing) {
  const std::string folder = fixture_path("models/stories260K");
  if (folder.empty()) GTEST_SKIP() << "third-party fixtures are absent";
  const TemporaryFolder alone;
  std::filesystem::copy(folder + "/tokenizer.model", alone / "tokenizer.model");
  const Ids legacy = Tokenizer::load(alone.path())->encode("the<s>the", false);
  write_text_file(alone / "tokenizer_config.json", R"({"legacy": false})");
  const Ids modern = Tokenizer::load(alone.path())->encode("the<s>the", false);
  const std::size_t s = 1;  // "▁the" is one piece
  ASSERT_EQ(legacy.size(), 3U);
  EXPECT_EQ(legacy[0], legacy[2]);
  EXPECT_EQ(modern[0], legacy[0]);
  EXPECT_EQ(modern[s], 1);
  EXPECT_NE(modern[2], legacy[2]);
}

TEST(Tokenizer, DamagedSentencePieceModel) {
  const TemporaryFolder folder;
  write_text_file(folder / "tokenizer.model", "\x0a\x7fhello");
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { Tokenizer::load(folder.path()); }), HasSubstr("not a SentencePiece model"));
}

}  // namespace
}  // namespace mpiquant
