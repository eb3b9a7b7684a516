#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/container_common.h"
#include "io/repository.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;
namespace fs = std::filesystem;

class Repository : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              ("repository-" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_ / "additional_chat_templates");
    put("config.json", R"({"architectures":["LlamaForCausalLM"],"torch_dtype":"bfloat16","tie_word_embeddings":true,)"
                       R"("quantization_config":{"quant_method":"awq"},"rms_norm_eps":1e-06})");
    put("tokenizer.json", "{}");
    put("tokenizer.model", std::string("\0\1binary", 8));
    put("generation_config.json", "{}");
    put("chat_template.jinja", "{{ x }}");
    put("additional_chat_templates/tool.jinja", "{{ y }}");
    put("LICENSE", "text of a licence");
    put("README.md", "---\r\nlicense: apache-2.0\r\nlanguage:\r\n- en\r\n- de\r\ndatasets:\r\n- secret\r\n---\r\n# Card\r\n");
    put("quantize_config.json", "{}");
    put("model.safetensors.index.json", "{}");
    put("original.bin", "x");
    model_ = make_model({.tied = true});
    facts_.model = &model_;
    facts_.model_dir = folder_.string();
    facts_.model_name = "someone/tiny";
    facts_.program_version = "0.1";
    facts_.method = "gptq";
    facts_.act_order = "static";
  }
  void TearDown() override { fs::remove_all(folder_); }

  void put(const std::string& name, const std::string& text) { std::ofstream(folder_ / name, std::ios::binary) << text; }

  std::map<std::string, std::string> files(const OutputSpec& output) {
    std::map<std::string, std::string> result;
    for (const TextFile& file : find_container(output.container).metadata(output, facts_))
      EXPECT_TRUE(result.emplace(file.path, file.content).second) << file.path;
    return result;
  }

  fs::path folder_;
  ModelSpec model_;
  RunFacts facts_;
};

TEST_F(Repository, CarriesWhatBelongsToTheModel) {
  const auto result = files(make_output("gptq", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32}));
  std::vector<std::string> names;
  for (const auto& [name, content] : result) names.push_back(name);
  EXPECT_THAT(names, testing::UnorderedElementsAre(
                         ".gitattributes", "LICENSE", "README.md", "additional_chat_templates/tool.jinja", "chat_template.jinja",
                         "config.json", "generation_config.json", "quantize_config.json", "tokenizer.json", "tokenizer.model"));
  EXPECT_EQ(result.at("tokenizer.model"), std::string("\0\1binary", 8));
}

TEST_F(Repository, ConfigIsEdited) {
  OutputSpec output = make_output("gptq", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32});
  auto result = files(output);
  Json config = parse_json(result["config.json"], "config");
  EXPECT_EQ(config["quantization_config"], parse_json(result["quantize_config.json"], "quantize"));
  EXPECT_EQ(config["quantization_config"]["quant_method"], "gptq");
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["torch_dtype"], "bfloat16");

  output = make_output("dense", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32});
  output.dense_dtype = DType::kF32;
  output.untied = true;
  config = parse_json(files(output)["config.json"], "config");
  EXPECT_FALSE(config.contains("quantization_config"));
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(config["torch_dtype"], "float32");
  EXPECT_FALSE(config.contains("dtype"));
}

TEST_F(Repository, TheConfigOfATransformedModelIsNotTied) {
  model_.tied = false;  // as a rotation leaves it; the file says otherwise
  facts_.transforms = {"rotate"};
  const OutputSpec output = make_output("dense", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32});
  auto result = files(output);
  EXPECT_EQ(parse_json(result["config.json"], "config")["tie_word_embeddings"], false);
  EXPECT_THAT(result["README.md"], testing::HasSubstr("--transform rotate"));
  put("config.json", R"({"tie_word_embeddings": null})");
  EXPECT_TRUE(parse_json(files(output)["config.json"], "config")["tie_word_embeddings"].is_null());
}

TEST_F(Repository, NestedQuantizationIsRemoved) {
  const Json config = config_without_quantization(
      parse_json(R"({"quantization_config":{},"text_config":{"quantization_config":{},"hidden_size":1},"x":2})", "config"));
  EXPECT_EQ(config.dump(), R"({"text_config":{"hidden_size":1},"x":2})");
}

TEST_F(Repository, CardHasFrontMatter) {
  const std::string card =
      files(make_output("gptq", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32}))["README.md"];
  EXPECT_TRUE(card.starts_with("---\nlicense: apache-2.0\nlanguage:\n- en\n- de\nlibrary_name: transformers\n")) << card;
  EXPECT_THAT(card, testing::HasSubstr("base_model: someone/tiny\nbase_model_relation: quantized\n"));
  EXPECT_THAT(card, testing::Not(testing::HasSubstr("secret")));
  EXPECT_THAT(card, testing::Not(testing::HasSubstr(folder_.string())));
  facts_.model_name = "tiny";
  EXPECT_THAT(files(make_output("gptq", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32}))["README.md"],
              testing::Not(testing::HasSubstr("base_model")));
}

TEST_F(Repository, LargeTextFilesAreNamedForLfs) {
  put("tokenizer.json", std::string(11'000'000, ' '));
  const auto result = files(make_output("gptq", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32}));
  EXPECT_THAT(result.at(".gitattributes"), testing::HasSubstr("tokenizer.json filter=lfs diff=lfs merge=lfs -text\n"));
  EXPECT_THAT(result.at(".gitattributes"), testing::HasSubstr("*.safetensors filter=lfs"));
}

TEST_F(Repository, BrokenConfigIsAnInputError) {
  put("config.json", "[1]");
  try {
    files(make_output("dense", model_, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32}));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInput);
  }
}

TEST(StoreRows, ValuesThatWouldBecomeInfinityAreRefusedByName) {
  const std::vector<float> fits = {65519.9F, -65504.0F, 0.0F, 1.0F}, beyond = {0.0F, 1.0F, -65520.0F, 2.0F};
  std::vector<std::byte> out(fits.size() * 2);
  store_rows(DType::kF16, "x.weight", 6, 2, fits, out);
  const Error error = error_of([&] { store_rows(DType::kF16, "x.weight", 6, 2, beyond, out); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), testing::HasSubstr("x.weight holds -65520 at row 7, column 0, which is infinity in float16"));
  store_rows(DType::kBF16, "x.weight", 0, 2, beyond, out);
  EXPECT_THROW(store_rows(DType::kBF16, "x.weight", 0, 1, std::vector<float>{3.4e38F}, std::span(out).first(2)), Error);
}

}  // namespace
}  // namespace mpiquant
