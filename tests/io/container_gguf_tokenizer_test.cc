#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/gguf.h"
#include "io/gguf_pretokenizer.h"
#include "io/gguf_tokenizer.h"
#include "src/base/json.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using Tokenizer = GgufTokenizer;

nlohmann::json read_json(const std::string& path) { return parse_json_by_key(read_text_file(path), path); }

TEST(GgufPretokenizer, KnownStructures) {
  EXPECT_EQ(gguf_pretokenizer(read_json(source_path("tests/models/tiny-llama/tokenizer.json"))), "llama-bpe");
  MQ_FIXTURE(root, "tokenizers");
  EXPECT_EQ(gguf_pretokenizer(read_json(root + "/gpt2/tokenizer.json")), "gpt-2");
  EXPECT_EQ(gguf_pretokenizer(read_json(root + "/llama3/tokenizer.json")), "llama-bpe");
  EXPECT_EQ(gguf_pretokenizer(read_json(root + "/qwen3/tokenizer.json")), "qwen2");
}

TEST(GgufPretokenizer, SmolLm) {
  EXPECT_EQ(
      gguf_pretokenizer(nlohmann::json::parse(
          R"({"normalizer":null,"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},)"
          R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]}})")),
      "smollm");
}

// One changed character of an expression, another behavior or a normalizer is another tokenizer.
TEST(GgufPretokenizer, NearMissesAreErrors) {
  const nlohmann::json known = read_json(source_path("tests/models/tiny-llama/tokenizer.json"));
  std::vector<nlohmann::json> mutants(4, known);
  auto& split = mutants[0]["pre_tokenizer"]["pretokenizers"][0];
  std::string pattern = split["pattern"]["Regex"];
  pattern.replace(pattern.find("{1,3}"), 5, "{1,4}");
  split["pattern"]["Regex"] = pattern;
  mutants[1]["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed";
  mutants[2]["normalizer"] = {{"type", "NFC"}};
  mutants[3]["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true;
  for (const nlohmann::json& mutant : mutants) {
    const Error error = error_of([&] { gguf_pretokenizer(mutant); });
    EXPECT_EQ(error.code(), ExitCode::kInput);
    EXPECT_THAT(error.what(), testing::HasSubstr("--gguf-pre NAME"));
  }
}

// llama.cpp's own vocabulary files of the same tokenizers.
TEST(GgufTokenizer, SentencePieceVocabularyIsLlamaCpps) {
  MQ_FIXTURE(root, "tokenizers");
  const Tokenizer ours = read_gguf_tokenizer(root + "/llama2-spm", 32000, "");
  const GgufHeader peer = parse_gguf(File::open_read(root + "/vectors/ggml-vocab-llama-spm.gguf"));
  EXPECT_EQ(ours.model, *peer.get<std::string>("tokenizer.ggml.model"));
  EXPECT_EQ(ours.tokens, *peer.get<std::vector<std::string>>("tokenizer.ggml.tokens"));
  EXPECT_EQ(ours.scores, *peer.get<std::vector<float>>("tokenizer.ggml.scores"));
  EXPECT_EQ(ours.types, *peer.get<std::vector<std::int32_t>>("tokenizer.ggml.token_type"));
  EXPECT_EQ(ours.add_space_prefix, std::nullopt);
  EXPECT_TRUE(ours.special.add_bos);
}

TEST(GgufTokenizer, ByteLevelVocabularyIsLlamaCpps) {
  MQ_FIXTURE(root, "tokenizers");
  const Tokenizer ours = read_gguf_tokenizer(root + "/gpt2", 50257, "");
  const GgufHeader peer = parse_gguf(File::open_read(root + "/vectors/ggml-vocab-gpt-2.gguf"));
  EXPECT_EQ(ours.model, *peer.get<std::string>("tokenizer.ggml.model"));
  EXPECT_EQ(ours.pre, *peer.get<std::string>("tokenizer.ggml.pre"));
  EXPECT_EQ(ours.tokens, *peer.get<std::vector<std::string>>("tokenizer.ggml.tokens"));
  EXPECT_EQ(ours.merges, *peer.get<std::vector<std::string>>("tokenizer.ggml.merges"));
  EXPECT_EQ(ours.types, *peer.get<std::vector<std::int32_t>>("tokenizer.ggml.token_type"));
  EXPECT_FALSE(ours.special.add_bos);
}

// Repositories with tokenizer.json and tokenizer.model, and with tokenizer.json alone.
TEST(GgufTokenizer, SentencePieceFromEitherFile) {
  MQ_FIXTURE(root, "models");
  for (const auto& [name, rows] : {std::pair{"stories260K", 512}, {"babyllama-tok105", 105}}) {
    const Tokenizer both = read_gguf_tokenizer(root + "/" + name, rows, "");
    const TemporaryFolder folder;
    std::filesystem::copy(root + "/" + name + "/tokenizer.json", folder / "tokenizer.json");
    std::filesystem::copy(root + "/" + name + "/tokenizer_config.json", folder / "tokenizer_config.json");
    const Tokenizer json = read_gguf_tokenizer(folder.path(), rows, "");
    EXPECT_EQ(both.model, "llama");
    EXPECT_EQ(json.tokens, both.tokens);
    EXPECT_EQ(json.types, both.types);
    EXPECT_TRUE(both.special.add_bos);
    EXPECT_EQ(both.special.ids, json.special.ids);
    // The scores put the merged tokens in the same order.
    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < both.tokens.size(); ++i)
      if (both.types[i] == Tokenizer::kNormal) order.push_back(i);
    std::vector<std::size_t> other = order;
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return -both.scores[i]; });
    std::ranges::stable_sort(other, {}, [&](std::size_t i) { return -json.scores[i]; });
    EXPECT_EQ(order, other) << name;
  }
}

class MadeTokenizer : public testing::Test {
 protected:
  MadeTokenizer() {
    json_ = nlohmann::json::parse(
        R"({"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"post_processor":null,)"
        R"("added_tokens":[{"id":3,"content":"<|end|>","special":true},{"id":4,"content":"▁word","special":false}],)"
        R"("model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})");
    put("tokenizer_config.json", R"({"eos_token":"<|end|>"})");
  }
  Tokenizer read(std::int64_t rows, const std::string& pre = "") {
    put("tokenizer.json", json_.dump());
    return read_gguf_tokenizer(folder_.path(), rows, pre);
  }
  void put(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  TemporaryFolder folder_;
  nlohmann::json json_;
};

TEST_F(MadeTokenizer, PadsUpToTheEmbeddings) {
  const Tokenizer tokenizer = read(7);
  EXPECT_THAT(tokenizer.tokens, testing::ElementsAre("a", "b", "ab", "<|end|>", " word", "[PAD5]", "[PAD6]"));
  EXPECT_THAT(tokenizer.types, testing::ElementsAre(1, 1, 1, 3, 4, 5, 5));
  EXPECT_THAT(tokenizer.merges, testing::ElementsAre("a b"));
  EXPECT_THAT(tokenizer.special.ids, testing::ElementsAre(testing::Pair("eos", 3)));
  EXPECT_EQ(tokenizer.pre, "gpt-2");
  EXPECT_EQ(read(7, "special").pre, "special");
}

TEST_F(MadeTokenizer, MoreTokensThanEmbeddings) {
  const Error error = error_of([&] { read(4); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), testing::HasSubstr("embeddings"));
}

TEST_F(MadeTokenizer, DuplicatesAreErrors) {
  json_["added_tokens"][0]["content"] = "ab";
  EXPECT_THAT(error_of([&] { read(7); }).what(), testing::HasSubstr("both \"ab\""));
}

TEST_F(MadeTokenizer, SpacesInMergesAreEncoded) {
  json_["model"]["merges"] = nlohmann::json::parse(R"([["a", "b"], ["a b", "c"]])");
  EXPECT_THAT(read(7).merges, testing::ElementsAre("a b", "aĠb c"));
}

TEST_F(MadeTokenizer, HostileFilesAreInputErrors) {
  const nlohmann::json good = json_;
  for (const char* patch :
       {R"([{"op":"replace","path":"/model/vocab/a","value":"x"}])", R"([{"op":"replace","path":"/model/vocab/a","value":-1}])",
        R"([{"op":"replace","path":"/model/merges","value":["ab"]}])",
        R"([{"op":"replace","path":"/model/merges","value":[[1,2]]}])",
        R"([{"op":"replace","path":"/model/type","value":"Unigram"}])", R"([{"op":"remove","path":"/model"}])",
        R"([{"op":"replace","path":"/added_tokens","value":[{"content":"x"}]}])",
        R"([{"op":"replace","path":"/pre_tokenizer","value":null}])"}) {
    json_ = good.patch(nlohmann::json::parse(patch));
    EXPECT_EQ(error_of([&] { read(7); }).code(), ExitCode::kInput) << patch;
  }
}

TEST_F(MadeTokenizer, ChatTemplates) {
  put("tokenizer_config.json", R"({"chat_template":[{"name":"default","template":"D"},{"name":"tool use","template":"T"}]})");
  EXPECT_THAT(read(7).special.chat_templates, testing::ElementsAre(testing::Pair("", "D"), testing::Pair("tool_use", "T")));
  put("tokenizer_config.json", "{}");
  put("chat_template.jinja", "J");
  EXPECT_THAT(read(7).special.chat_templates, testing::ElementsAre(testing::Pair("", "J")));
}

}  // namespace
}  // namespace mpiquant
