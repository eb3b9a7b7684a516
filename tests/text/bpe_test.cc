#include "src/text/bpe.h"

#include <gmock/gmock.h>

#include <map>
#include <random>

#include "src/base/error.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using Ids = std::vector<std::int32_t>;

Ids encode(const BpeModel& model, std::string_view word) {
  Bpe::Cache cache;
  Ids ids;
  const Bpe bpe(model);
  bpe.encode(word, cache, ids);
  Ids again;
  bpe.encode(word, cache, again);
  EXPECT_EQ(ids, again) << "the cache changed the result";
  return ids;
}

// The definition: again and again the pair of the lowest rank, leftmost first.
Ids merge_by_definition(const BpeModel& model, std::string_view word) {
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (std::size_t i = 0; i < model.merges.size(); ++i) ranks[model.merges[i]] = i;
  std::vector<std::string> parts;
  for (const char c : word) parts.emplace_back(1, c);
  for (;;) {
    std::size_t best = model.merges.size();
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto rank = ranks.find({parts[i], parts[i + 1]});
      if (rank == ranks.end() || rank->second >= best) continue;
      best = rank->second;
      at = i;
    }
    if (best == model.merges.size()) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) ids.push_back(model.vocab.at(part));
  return ids;
}

BpeModel random_model(std::mt19937& random) {
  BpeModel model;
  std::vector<std::string> pieces{"a", "b", "c"};
  while (pieces.size() < 20) {
    const std::string left = pieces[random() % pieces.size()];
    const std::string right = pieces[random() % pieces.size()];
    if (std::find(pieces.begin(), pieces.end(), left + right) != pieces.end()) continue;
    pieces.push_back(left + right);
    model.merges.emplace_back(left, right);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) model.vocab[pieces[i]] = static_cast<std::int32_t>(i);
  return model;
}

TEST(Bpe, EqualsItsDefinition) {
  std::mt19937 random(1);
  int differs_without_a_merge = 0;
  for (int round = 0; round < 200; ++round) {
    const BpeModel model = random_model(random);
    std::string word;
    for (std::size_t i = 1 + random() % 60; i > 0; --i) word += static_cast<char>('a' + random() % 3);
    const Ids expected = merge_by_definition(model, word);
    EXPECT_EQ(encode(model, word), expected) << word;
    BpeModel mutant = model;
    mutant.merges.erase(mutant.merges.begin());
    differs_without_a_merge += encode(mutant, word) != expected ? 1 : 0;
  }
  EXPECT_GT(differs_without_a_merge, 50);
}

BpeModel fallback_model() {
  BpeModel model;
  model.vocab = {{"<unk>", 0}, {"a", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}};
  model.unk_token = "<unk>";
  return model;
}

TEST(Bpe, UnknownCharacters) {
  BpeModel model = fallback_model();
  EXPECT_THAT(encode(model, "a\u00e9\u00e9a"), ElementsAre(1, 0, 0, 1));
  model.fuse_unk = true;
  EXPECT_THAT(encode(model, "a\u00e9\u00e9a"), ElementsAre(1, 0, 1));
  model.unk_token.reset();
  EXPECT_THAT(encode(model, "a\u00e9\u00e9a"), ElementsAre(1, 1));
  model.unk_token = "<none>";
  EXPECT_THROW(encode(model, "\u00e9"), Error);
  EXPECT_THAT(encode(model, "a"), ElementsAre(1));
}

TEST(Bpe, ByteFallback) {
  BpeModel model = fallback_model();
  model.byte_fallback = true;
  EXPECT_THAT(encode(model, "a\u00e9"), ElementsAre(1, 2, 3));
  // U+00E8 needs <0xA8>, which is missing; the unknown token comes after the bytes that follow it, as in Hugging Face tokenizers.
  EXPECT_THAT(encode(model, "\u00e8\u00e9"), ElementsAre(2, 3, 0));
}

TEST(Bpe, WholeWordsAndAffixes) {
  BpeModel model;
  model.vocab = {{"ab", 0}, {"a", 1}, {"##b", 2}, {"##b</w>", 3}, {"ab</w>", 4}};
  model.continuing_subword_prefix = "##";
  model.end_of_word_suffix = "</w>";
  EXPECT_THAT(encode(model, "ab"), ElementsAre(1, 3));
  model.merges = {{"a", "##b</w>"}};
  EXPECT_THAT(encode(model, "ab"), ElementsAre(4));
  model.ignore_merges = true;
  EXPECT_THAT(encode(model, "ab"), ElementsAre(0));
}

}  // namespace
}  // namespace mpiquant
