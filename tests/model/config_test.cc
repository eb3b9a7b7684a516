#include "src/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/model/architecture.h"
#include "tests/io/fixtures.h"
#include "tests/model/memory_source.h"

namespace mpiquant {
namespace {

using testing::HasSubstr;

Json llama() {
  return parse_json(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}, "dtype": "float16",
    "bos_token_id": 7, "eos_token_id": [8, 9]})",
                    "test");
}

Json mistral() {
  Json config = llama();
  config["architectures"] = {"MistralForCausalLM"};
  config["model_type"] = "mistral";
  config["sliding_window"] = 32;
  return config;
}

TEST(Config, DescribesALlama) {
  const ModelSpec spec = parse_config(llama());
  EXPECT_EQ(spec.architecture, "LlamaForCausalLM");
  EXPECT_EQ(spec.dtype, DType::kF16);
  EXPECT_EQ(spec.head_dim, 16);
  EXPECT_EQ(spec.kv_heads, 2);
  EXPECT_EQ(spec.rope.theta, 5000.0);
  EXPECT_EQ(spec.bos, 7);
  EXPECT_EQ(spec.eos, 8);
  EXPECT_EQ(spec.eos_all, (std::vector<std::int64_t>{8, 9}));
  EXPECT_FALSE(spec.tied);
  EXPECT_EQ(spec.head_weight(), "lm_head.weight");
  ASSERT_EQ(spec.layers.size(), 2U);
  const LayerSpec& layer = spec.layers[1];
  EXPECT_EQ(layer.input_norm, "model.layers.1.input_layernorm.weight");
  EXPECT_EQ(layer.sliding_window, 0);
  std::vector<std::string> blocks;
  for (const BlockSpec& block : layer.blocks) blocks.push_back(block.name);
  EXPECT_EQ(blocks, (std::vector<std::string>{"qkv", "o", "gate_up", "down"}));
  const LinearSpec& key = layer.blocks[0].linears[1];
  EXPECT_EQ(key.weight(), "model.layers.1.self_attn.k_proj.weight");
  EXPECT_EQ(key.role, Role::kKey);
  EXPECT_EQ(key.rows, 32);
  EXPECT_EQ(key.cols, 64);
  EXPECT_FALSE(key.has_bias);
}

TEST(Config, OldFormSaysTheSame) {
  Json old = llama();
  old.erase("rope_parameters");
  old.erase("dtype");
  old["torch_dtype"] = "float16";
  old["rope_theta"] = 5000.0;
  EXPECT_EQ(parse_config(old).dtype, DType::kF16);
  EXPECT_EQ(parse_config(old).rope.theta, 5000.0);
  for (const char* key : {"type", "rope_type"}) {
    old["rope_scaling"] = {{key, "linear"}, {"factor", 4.0}};
    const RopeSpec rope = parse_config(old).rope;
    EXPECT_EQ(rope.type, RopeType::kLinear);
    EXPECT_EQ(rope.factor, 4.0);
    EXPECT_EQ(rope.theta, 5000.0);
  }
}

TEST(Config, UnstatedKeysFollowTransformers) {
  Json config = llama();
  for (const char* key : {"num_key_value_heads", "rope_parameters", "dtype", "hidden_act", "bos_token_id", "eos_token_id"})
    config.erase(key);
  const ModelSpec spec = parse_config(config, DType::kBF16);
  EXPECT_EQ(spec.kv_heads, 4);
  EXPECT_EQ(spec.rope.theta, 10000.0);
  EXPECT_EQ(spec.dtype, DType::kBF16);
  EXPECT_EQ(spec.bos, 1);
  EXPECT_EQ(spec.eos, 2);
  config["bos_token_id"] = config["eos_token_id"] = nullptr;
  EXPECT_FALSE(parse_config(config, DType::kBF16).bos.has_value());
  EXPECT_TRUE(parse_config(config, DType::kBF16).eos_all.empty());
}

TEST(Config, BiasesAndHeadDim) {
  Json config = llama();
  config["attention_bias"] = config["mlp_bias"] = config["tie_word_embeddings"] = true;
  config["head_dim"] = 24;
  const ModelSpec spec = parse_config(config);
  EXPECT_EQ(spec.layers[0].blocks[1].linears[0].cols, 96);
  for (const BlockSpec& block : spec.layers[0].blocks)
    for (const LinearSpec& linear : block.linears) EXPECT_TRUE(linear.has_bias) << linear.module;
  EXPECT_EQ(spec.head_weight(), "model.embed_tokens.weight");
  Json other = mistral();
  other["attention_bias"] = true;  // not a key of this family
  EXPECT_FALSE(parse_config(other).layers[0].blocks[0].linears[0].has_bias);
}

TEST(Config, MistralWindow) {
  Json config = mistral();
  EXPECT_EQ(parse_config(config).layers[1].sliding_window, 32);
  config["layer_types"] = {"sliding_attention", "sliding_attention"};
  EXPECT_EQ(parse_config(config).layers[1].sliding_window, 32);
  config["layer_types"] = nullptr;
  config["sliding_window"] = nullptr;
  EXPECT_EQ(parse_config(config).layers[1].sliding_window, 0);
  config.erase("sliding_window");
  EXPECT_EQ(parse_config(config).layers[1].sliding_window, 4096);
}

TEST(Config, YarnContextFallsBackAsInTransformers) {
  Json config = llama();
  config["rope_parameters"] = {{"rope_type", "yarn"}, {"factor", 4.0}};
  EXPECT_EQ(parse_config(config).rope.original_context, 128);
  config["rope_parameters"]["original_max_position_embeddings"] = 32;
  EXPECT_EQ(parse_config(config).rope.original_context, 32);
  config["original_max_position_embeddings"] = 16;
  EXPECT_EQ(parse_config(config).rope.original_context, 16);
}

TEST(Config, EveryArchitectureHasItsRow) {
  for (const Architecture& row : architectures()) {
    Json config = mistral();
    config["architectures"] = {std::string(row.name)};
    config["model_type"] = std::string(row.model_type);
    config["sliding_window"] = nullptr;
    EXPECT_EQ(parse_config(config).architecture, row.name);
    EXPECT_THAT(supported_architectures(), HasSubstr(std::string(row.name)));
  }
}

struct BadKey {
  const char* key;
  const char* value;  // JSON; nullptr: erased
  const char* says;
};
void PrintTo(const BadKey& c, std::ostream* out) { *out << c.key << " " << (c.value ? c.value : "erased"); }

class BadConfig : public testing::TestWithParam<BadKey> {};

TEST_P(BadConfig, IsAnInputErrorThatNamesTheKey) {
  const auto& [key, value, says] = GetParam();
  Json config = llama();
  if (value == nullptr) {
    config.erase(key);
  } else {
    config[key] = parse_json(value, "test");
  }
  const Error error = error_of([&] { parse_config(config); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr(key));
  EXPECT_THAT(error.what(), HasSubstr(says));
}

INSTANTIATE_TEST_SUITE_P(
    Keys, BadConfig,
    testing::Values(
        BadKey{"architectures", nullptr, "LlamaForCausalLM"}, BadKey{"architectures", "[]", "LlamaForCausalLM"},
        BadKey{"architectures", "\"LlamaForCausalLM\"", "MistralForCausalLM"}, BadKey{"model_type", "\"qwen2\"", "\"qwen2\""},
        BadKey{"hidden_size", nullptr, "missing"}, BadKey{"hidden_size", "null", "missing"}, BadKey{"hidden_size", "0", "0"},
        BadKey{"hidden_size", "-64", "-64"}, BadKey{"hidden_size", "64.0", "64.0"}, BadKey{"hidden_size", "\"64\"", "integer"},
        BadKey{"hidden_size", "18446744073709551615", "integer"}, BadKey{"hidden_size", "66", "multiple"},
        BadKey{"intermediate_size", nullptr, "missing"}, BadKey{"num_hidden_layers", nullptr, "missing"},
        BadKey{"num_hidden_layers", "1000000000", "above"}, BadKey{"num_attention_heads", nullptr, "missing"},
        BadKey{"num_key_value_heads", "3", "multiple"}, BadKey{"head_dim", "15", "odd"},
        BadKey{"head_dim", "2147483646", "wider"}, BadKey{"vocab_size", nullptr, "missing"},
        BadKey{"max_position_embeddings", nullptr, "missing"}, BadKey{"rms_norm_eps", nullptr, "missing"},
        BadKey{"rms_norm_eps", "-1e-5", "above 0"}, BadKey{"hidden_act", "\"gelu\"", "silu"}, BadKey{"pretraining_tp", "2", "1"},
        BadKey{"sliding_window", "64", "null"}, BadKey{"dtype", nullptr, "missing"},
        BadKey{"dtype", "\"float8_e4m3fn\"", "bfloat16"}, BadKey{"dtype", "\"int8\"", "bfloat16"},
        BadKey{"quantization_config", "{\"quant_method\": \"gptq\"}", "unquantized"},
        BadKey{"layer_types", "[\"full_attention\", \"chunked_attention\"]", "full_attention"},
        BadKey{"layer_types", "[\"sliding_attention\", \"full_attention\"]", "full_attention"},
        BadKey{"tie_word_embeddings", "1", "true or false"}, BadKey{"eos_token_id", "[1, \"2\"]", "list of integers"},
        BadKey{"partial_rotary_factor", "0.5", "1"}, BadKey{"rope_theta", "0", "above 0"},
        BadKey{"rope_scaling", "\"linear\"", "object"}, BadKey{"rope_scaling", R"({"type": "dynamic", "factor": 2})", "yarn"},
        BadKey{"rope_scaling", R"({"rope_type": "longrope"})", "llama3"},
        BadKey{"rope_scaling", R"({"type": "linear"})", "factor"},
        BadKey{"rope_scaling", R"({"type": "linear", "factor": 0})", "factor"},
        BadKey{"rope_scaling", R"({"type": "yarn"})", "factor"},
        BadKey{"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 1})", "high_freq_factor"},
        BadKey{"rope_scaling", R"({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 4})", "above"},
        BadKey{"rope_parameters", R"({"full_attention": {"rope_type": "default"}})", "full_attention"}));

TEST(Config, OtherArchitecturesNameTheSupportedOnes) {
  Json config = llama();
  config["architectures"] = {"Qwen2ForCausalLM"};
  const Error error = error_of([&] { parse_config(config); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  for (const char* name : {"Qwen2ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"})
    EXPECT_THAT(error.what(), HasSubstr(name));
}

TEST(Config, MustBeAnObject) {
  EXPECT_EQ(error_of([] { parse_config(Json::array()); }).code(), ExitCode::kInput);
}

class Tensors : public testing::Test {
 protected:
  Tensors() : spec_(parse_config(llama())) {
    const auto zeros = [&](const std::string& name, const Shape& shape) {
      source_.add(name, shape, std::vector<float>(static_cast<std::size_t>(element_count(shape))));
    };
    zeros(spec_.embedding, {100, 64});
    zeros(spec_.head.weight(), {100, 64});
    zeros(spec_.final_norm, {64});
    for (const LayerSpec& layer : spec_.layers) {
      zeros(layer.input_norm, {64});
      zeros(layer.post_attention_norm, {64});
      for (const BlockSpec& block : layer.blocks)
        for (const LinearSpec& linear : block.linears) zeros(linear.weight(), {linear.rows, linear.cols});
    }
  }
  std::string error() {
    const Error error = error_of([&] { check_tensors(spec_, source_); });
    EXPECT_EQ(error.code(), ExitCode::kInput);
    return error.what();
  }

  ModelSpec spec_;
  MemorySource source_;
  const std::string up_ = "model.layers.1.mlp.up_proj.weight";
};

TEST_F(Tensors, MatchTheConfig) { EXPECT_TRUE(check_tensors(spec_, source_).empty()); }

TEST_F(Tensors, UnusedOnesAreListedButOldRotaryBuffersAreNot) {
  source_.add("model.layers.0.self_attn.rotary_emb.inv_freq", {8}, std::vector<float>(8));
  source_.add("model.layers.2.mlp.up_proj.weight", {96, 64}, std::vector<float>(96 * 64));
  EXPECT_EQ(check_tensors(spec_, source_), (std::vector<std::string>{"model.layers.2.mlp.up_proj.weight"}));
  spec_.tied = true;
  EXPECT_EQ(check_tensors(spec_, source_).front(), "lm_head.weight");
}

TEST_F(Tensors, MissingIsAnError) {
  source_.remove(up_);
  EXPECT_THAT(error(), HasSubstr(up_));
}

TEST_F(Tensors, WrongShapeIsAnError) {
  source_.entry(up_).shape = {64, 96};
  EXPECT_THAT(error(), testing::AllOf(HasSubstr(up_), HasSubstr("[64, 96]"), HasSubstr("[96, 64]")));
}

TEST_F(Tensors, IntegersAreAnError) {
  source_.entry(up_).dtype = DType::kI8;
  source_.entry(up_).dtype_name = "I8";
  EXPECT_THAT(error(), testing::AllOf(HasSubstr(up_), HasSubstr("I8")));
  source_.entry(up_).dtype.reset();
  source_.entry(up_).dtype_name = "F8_E4M3";
  EXPECT_THAT(error(), testing::AllOf(HasSubstr(up_), HasSubstr("F8_E4M3")));
}

}  // namespace
}  // namespace mpiquant
