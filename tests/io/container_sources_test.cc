#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/ggml_blocks.h"
#include "io/gguf_source.h"
#include "io/quantized_source.h"
#include "kernels/codec/grids.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;
namespace fs = std::filesystem;

// A value of a float tensor, exact in every 16-bit type.
float element(const std::string& name, std::int64_t index) {
  return static_cast<float>((index * 7 + static_cast<std::int64_t>(name.size())) % 64) - 20;
}

// A whole output in a folder, from random codes.
class Written {
 public:
  Written(const OutputSpec& output, RunFacts facts, std::uint32_t seed) : output_(output), model_(*facts.model) {
    facts.model_dir = source_.path();
    facts.model_name = "made";
    write(source_ / "config.json", R"({"architectures":["LlamaForCausalLM"],"tie_word_embeddings":false})");
    write(source_ / "tokenizer.json",
          R"({"normalizer":{"type":"Prepend","prepend":"▁"},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})");
    std::mt19937 random(seed);
    for (const LinearChoice& choice : output.linears) {
      EncodedLinear linear = random_linear(choice.linear, choice.codec, random);
      if (choice.has_g_idx) std::ranges::shuffle(linear.g_idx, random);
      linears[choice.linear.module] = std::move(linear);
    }
    const Container& container = find_container(output.container);
    container.check(output, model_);
    for (const FilePlan& file : container.layout(output, facts)) write_file(container, file);
    for (const TextFile& file : container.metadata(output, facts)) write(folder_ / file.path, file.content);
  }

  std::string path() const { return folder_.path(); }
  const TemporaryFolder& folder() const { return folder_; }

  // What every reader makes of an element of a linear.
  float value(const LinearChoice& choice, std::int64_t row, std::int64_t col) const {
    const EncodedLinear& linear = linears.at(choice.linear.module);
    const std::int64_t group = linear.g_idx[static_cast<std::size_t>(col)];
    const GroupParams& p = linear.params[static_cast<std::size_t>(row * linear.codec.groups(linear.cols) + group)];
    const float q = static_cast<float>(linear.codes[static_cast<std::size_t>(row * linear.cols + col)]);
    switch (linear.codec.kind) {
      case CodecKind::kInt: return p.scale * (q - p.offset);
      case CodecKind::kQ8_0: return p.scale * (q - 128);
      case CodecKind::kQ4_0: return p.scale * (q - 8);
      default: return p.scale * q + p.offset;
    }
  }

  std::map<std::string, EncodedLinear> linears;

 private:
  static void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

  void write_file(const Container& container, const FilePlan& plan) {
    File file = File::create(folder_ / plan.path, plan.bytes);
    file.write_at(0, plan.header);
    for (const TensorPlan& tensor : plan.tensors) {
      std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.bytes));
      if (!tensor.piece.empty()) {
        container.pack(output_, model_, tensor, linears.at(tensor.source), bytes);
      } else {
        const RowReader read = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
          const std::int64_t width = static_cast<std::int64_t>(out.size()) / (end - begin);
          for (std::size_t i = 0; i < out.size(); ++i)
            out[i] = element(tensor.source, begin * width + static_cast<std::int64_t>(i));
        };
        container.write_dense(output_, model_, tensor, 0, tensor.bytes / container.dense_row_bytes(output_, model_, tensor), read,
                              bytes);
      }
      file.write_at(tensor.offset, bytes);
    }
    file.close();
  }

  TemporaryFolder source_;
  TemporaryFolder folder_;
  const OutputSpec& output_;
  const ModelSpec& model_;
};

struct Case {
  std::string name;
  std::string container;
  CodecSpec codec;
  bool dynamic = false;
  std::int64_t max_shard_bytes = 5'000'000'000;
};

class ReadBack : public testing::TestWithParam<Case> {};

// Whole tensors, and rows in pieces that cut heads, words and shards.
TEST_P(ReadBack, DecodedAndFloatTensors) {
  const Case& given = GetParam();
  const ModelSpec model = make_model({.bias = true});
  OutputSpec output = make_output(given.container, model, given.codec, true);
  output.gguf_type = given.container == "gguf" ? to_string(given.codec) : "";
  output.dense_dtype = DType::kF32;
  output.max_shard_bytes = given.max_shard_bytes;
  for (LinearChoice& choice : output.linears) choice.has_g_idx = given.dynamic;
  const Written written(output, facts_of(model), 11);
  const PlainModel plain = open_plain_model(written.path());
  EXPECT_FALSE(plain.config.contains("quantization_config"));
  EXPECT_EQ(plain.config["tie_word_embeddings"], false);
  EXPECT_EQ(plain.source->entries().size(), output.linears.size() + output.dense.size());
  for (const LinearChoice& choice : output.linears) {
    const TensorEntry& entry = plain.source->at(choice.linear.weight());
    ASSERT_EQ(entry.shape, (Shape{choice.linear.rows, choice.linear.cols}));
    std::vector<float> values(static_cast<std::size_t>(choice.linear.rows * choice.linear.cols));
    plain.source->read_rows(entry.name, 0, choice.linear.rows, values);
    for (std::int64_t n = 0; n < choice.linear.rows; ++n)
      for (std::int64_t k = 0; k < choice.linear.cols; ++k)
        ASSERT_EQ(values[static_cast<std::size_t>(n * choice.linear.cols + k)], written.value(choice, n, k))
            << entry.name << " " << n << " " << k;
    for (std::int64_t row = 0; row < choice.linear.rows; row += 7) {
      const std::int64_t end = std::min(choice.linear.rows, row + 7);
      std::vector<float> piece(static_cast<std::size_t>((end - row) * choice.linear.cols));
      plain.source->read_rows(entry.name, row, end, piece);
      ASSERT_TRUE(
          std::ranges::equal(piece, std::span(values).subspan(static_cast<std::size_t>(row * choice.linear.cols), piece.size())))
          << entry.name;
    }
    std::array<std::byte, 10> bytes{};  // a range that is no whole row
    plain.source->read_raw(entry.name, 6, bytes);
    EXPECT_EQ(std::memcmp(bytes.data(), reinterpret_cast<const std::byte*>(values.data()) + 6, 10), 0);
  }
  for (const DenseChoice& choice : output.dense) {
    const TensorEntry& entry = plain.source->at(choice.name);
    ASSERT_EQ(entry.shape, choice.shape) << choice.name;
    std::vector<float> values(static_cast<std::size_t>(element_count(entry.shape)));
    plain.source->read_rows(entry.name, 0, entry.rows(), values);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_EQ(values[i], element(choice.source, static_cast<std::int64_t>(i))) << choice.name << " " << i;
  }
}

CodecSpec integers(int bits, std::int64_t group, bool symmetric, DType scale = DType::kF16) {
  return {.kind = CodecKind::kInt, .bits = bits, .group_size = group, .symmetric = symmetric, .scale_dtype = scale};
}

INSTANTIATE_TEST_SUITE_P(
    Forms, ReadBack,
    testing::Values(Case{"gptq4", "gptq", integers(4, 32, true)}, Case{"gptq4asym", "gptq", integers(4, 32, false)},
                    Case{"gptq3", "gptq", integers(3, 64, true)}, Case{"gptq3row", "gptq", integers(3, -1, false)},
                    Case{"gptq2", "gptq", integers(2, 16, false)}, Case{"gptq8", "gptq", integers(8, 32, true)},
                    Case{"gptq4dynamic", "gptq", integers(4, 32, false), true},
                    Case{"gptq4shards", "gptq", integers(4, 32, true), false, 20'000},
                    Case{"ct4", "compressed-tensors", integers(4, 32, true, DType::kBF16)},
                    Case{"ct4asym", "compressed-tensors", integers(4, 32, false, DType::kBF16)},
                    Case{"ct8row", "compressed-tensors", integers(8, -1, true, DType::kBF16)},
                    Case{"ct2asym", "compressed-tensors", integers(2, 16, false, DType::kF16), false, 20'000},
                    Case{"dense", "dense", integers(4, 48, false, DType::kF32), true},
                    Case{"q8_0", "gguf", *ggml_codec(GgmlType::kQ8_0)}, Case{"q4_0", "gguf", *ggml_codec(GgmlType::kQ4_0)},
                    Case{"q4_1", "gguf", *ggml_codec(GgmlType::kQ4_1)}),
    [](const auto& param) { return param.param.name; });

// A peer's file: version 1 with asymmetric zero points and groups in activation order.
TEST(GptqSource, ReadsAPeersActivationOrder) {
  MQ_FIXTURE(root, "peer-outputs/gptq-w4g32-asym-desc_act");
  const TemporaryFolder folder;
  fs::copy(root + "/stored.safetensors", folder / "model.safetensors");
  fs::copy(root + "/config.json", folder / "config.json");
  const PlainModel plain = open_plain_model(folder.path());
  const LoadedFile file = load_safetensors(root + "/stored.safetensors");
  const std::string module = "model.layers.2.mlp.down_proj";
  const auto words = file.at(module + ".qweight").as<std::uint32_t>();
  const auto zeros = file.at(module + ".qzeros").as<std::uint32_t>();
  const auto scales = file.at(module + ".scales").as<std::uint16_t>();
  const auto g_idx = file.at(module + ".g_idx").as<std::int32_t>();
  std::vector<float> values(256 * 768);
  plain.source->read_rows(module + ".weight", 0, 256, values);
  for (std::size_t n = 0; n < 256; n += 3)
    for (std::size_t k = 0; k < 768; ++k) {
      const auto g = static_cast<std::size_t>(g_idx[k]);
      const float q = static_cast<float>((words[k / 8 * 256 + n] >> (4 * (k % 8))) & 15U);
      const float z = static_cast<float>(((zeros[g * 32 + n / 8] >> (4 * (n % 8))) & 15U) + 1);
      ASSERT_EQ(values[n * 768 + k], f16_to_f32(scales[g * 256 + n]) * (q - z)) << n << " " << k;
    }
  EXPECT_FALSE(std::ranges::is_sorted(g_idx));
}

TEST(GgufSource, OtherTypesAreErrors) {
  MQ_FIXTURE(root, "peer-outputs/gguf");
  const Error error = error_of([&] { open_plain_model(root + "/tiny-llama-Q4_K_M-imatrix.gguf"); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), testing::HasSubstr("_K"));
  EXPECT_EQ(error_of([&] { open_plain_model(root + "/imatrix.gguf"); }).code(), ExitCode::kInput);
}

TEST(GgufSource, ConfigFromMetadata) {
  ModelSpec model = make_model({.kv_heads = 1, .bias = true});
  model.rope.type = RopeType::kYarn;
  model.rope.factor = 4;
  model.rope.original_context = 128;
  OutputSpec output = make_output("gguf", model, *ggml_codec(GgmlType::kQ8_0));
  output.gguf_type = "q8_0";
  const Written written(output, facts_of(model), 1);
  fs::remove(written.folder() / "config.json");
  const Json config = open_plain_model(written.folder() / "made-Q8_0.gguf").config;
  EXPECT_EQ(config["hidden_size"], 64);
  EXPECT_EQ(config["intermediate_size"], 128);
  EXPECT_EQ(config["num_hidden_layers"], 2);
  EXPECT_EQ(config["num_attention_heads"], 4);
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["head_dim"], 16);
  EXPECT_EQ(config["vocab_size"], 96);
  EXPECT_EQ(config["max_position_embeddings"], 512);
  EXPECT_EQ(config["tie_word_embeddings"], false);
  EXPECT_EQ(config["attention_bias"], true);
  EXPECT_EQ(config["mlp_bias"], true);
  EXPECT_EQ(config["rope_parameters"]["rope_type"], "yarn");
  EXPECT_EQ(config["rope_parameters"]["factor"], 4.0);
  EXPECT_EQ(config["rope_parameters"]["original_max_position_embeddings"], 128);
}

TEST(GgufSource, RopeFreqsNeedTheConfig) {
  ModelSpec model = make_model({});
  model.rope.type = RopeType::kLlama3;
  model.rope.factor = 8;
  model.rope.original_context = 256;
  OutputSpec output = make_output("gguf", model, *ggml_codec(GgmlType::kQ4_0));
  output.gguf_type = "q4_0";
  const Written written(output, facts_of(model), 1);
  EXPECT_NO_THROW(open_plain_model(written.path()));
  fs::remove(written.folder() / "config.json");
  EXPECT_THAT(error_of([&] { open_plain_model(written.path()); }).what(), testing::HasSubstr("config.json"));
}

// Damage that would read out of bounds or make nonsense.
TEST(QuantizedSources, DamageIsAnInputError) {
  const ModelSpec model = make_model({});
  const auto damaged = [&](const std::string& container, const std::string& tensor, std::size_t at, std::uint32_t word) {
    OutputSpec output = make_output(container, model, integers(4, 32, false, container == "gptq" ? DType::kF16 : DType::kBF16));
    const Written written(output, facts_of(model), 2);
    {
      File file = File::open_write(written.folder() / "model.safetensors");
      for (const SafetensorsEntry& entry : parse_safetensors_header(file).entries)
        if (entry.name.ends_with(tensor))
          file.write_at(entry.offset + static_cast<std::int64_t>(at), std::as_bytes(std::span(&word, 1)));
      file.close();
    }
    return error_of([&] { open_plain_model(written.path()); }).code();
  };
  EXPECT_EQ(damaged("gptq", "0.mlp.up_proj.g_idx", 8, 99), ExitCode::kInput);
  EXPECT_EQ(damaged("gptq", "0.mlp.up_proj.g_idx", 8, 0x80000000U), ExitCode::kInput);
  EXPECT_EQ(damaged("compressed-tensors", "0.mlp.up_proj.weight_shape", 0, 64), ExitCode::kInput);
  EXPECT_EQ(damaged("compressed-tensors", "0.mlp.up_proj.weight_shape", 8, 640), ExitCode::kInput);
  EXPECT_EQ(damaged("compressed-tensors", "0.mlp.up_proj.weight_shape", 12, 0x7fffffffU), ExitCode::kInput);
}

TEST(QuantizedSources, ConfigsThatAreNotReadHere) {
  const ModelSpec model = make_model({});
  const OutputSpec output = make_output("gptq", model, integers(4, 32, true));
  const Written written(output, facts_of(model), 3);
  Json config = parse_json(read_text_file(written.folder() / "config.json"), "config");
  for (const char* patch : {R"({"quant_method":"awq"})", R"({"quant_method":3})", R"({"checkpoint_format":"marlin"})",
                            R"({"checkpoint_format":[]})"}) {
    Json broken = config;
    broken["quantization_config"].update(parse_json(patch, "patch"));
    std::ofstream(written.folder() / "config.json") << broken.dump();
    EXPECT_EQ(error_of([&] { open_plain_model(written.path()); }).code(), ExitCode::kInput) << patch;
  }
  std::ofstream(written.folder() / "config.json") << "[]";
  EXPECT_EQ(error_of([&] { open_plain_model(written.path()); }).code(), ExitCode::kInput);
  EXPECT_EQ(error_of([&] { open_plain_model(written.folder() / "absent"); }).code(), ExitCode::kInput);
}

}  // namespace
}  // namespace mpiquant
