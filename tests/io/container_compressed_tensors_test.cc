#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/compressed_tensors_config.h"
#include "io/model_card.h"
#include "io/packing.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;

const Container& packed_container() { return find_container("compressed-tensors"); }

EncodedLinear unpack(const LoadedFile& file, const std::string& module, const CodecSpec& codec) {
  EncodedLinear linear;
  linear.codec = codec;
  const auto shape = file.at(module + ".weight_shape").as<std::int64_t>();
  linear.rows = shape[0];
  linear.cols = shape[1];
  linear.codes.resize(static_cast<std::size_t>(linear.rows * linear.cols));
  unpack_rows(file.at(module + ".weight_packed").bytes, linear.rows, linear.cols, codec.bits, linear.codes);
  const LoadedTensor& scales = file.at(module + ".weight_scale");
  const std::int64_t groups = scales.shape[1];
  std::vector<float> scale(static_cast<std::size_t>(linear.rows * groups));
  to_f32(scales.dtype, scales.bytes, scale);
  std::vector<std::uint8_t> zeros(scale.size(), static_cast<std::uint8_t>(1 << (codec.bits - 1)));  // [groups, rows]
  if (!codec.symmetric) unpack_columns(file.at(module + ".weight_zero_point").bytes, groups, linear.rows, codec.bits, zeros);
  for (std::int64_t n = 0; n < linear.rows; ++n)
    for (std::int64_t g = 0; g < groups; ++g)
      linear.params.push_back({scale[static_cast<std::size_t>(n * groups + g)],
                               static_cast<float>(zeros[static_cast<std::size_t>(g * linear.rows + n)])});
  return linear;
}

struct Peer {
  std::string folder;
  int bits;
  bool symmetric;
};

class CompressedTensorsPeer : public testing::TestWithParam<Peer> {};

TEST_P(CompressedTensorsPeer, SameBytesAndHeader) {
  MQ_FIXTURE(root, "peer-outputs/" + GetParam().folder);
  const LoadedFile file = load_safetensors(root + "/stored.safetensors");
  const CodecSpec codec{.kind = CodecKind::kInt,
                        .bits = GetParam().bits,
                        .group_size = 128,
                        .symmetric = GetParam().symmetric,
                        .scale_dtype = DType::kBF16};
  const ModelSpec model =
      make_model({.hidden = 256, .intermediate = 768, .vocab = 2048, .layers = 6, .heads = 8, .kv_heads = 4, .head_dim = 32});
  const OutputSpec output = make_output("compressed-tensors", model, codec);
  packed_container().check(output, model);
  const auto files = packed_container().layout(output, facts_of(model));
  const Json peer = parse_json(
      parse_json(read_text_file(root + "/manifest.json"), "manifest")["model.safetensors"]["header"].get<std::string>(),
      "header");
  ASSERT_EQ(files[0].tensors.size() + 1, peer.size());
  const std::string header(reinterpret_cast<const char*>(files[0].header.data()) + 8, files[0].header.size() - 8);
  const Json ours = parse_json(header, "ours");
  int compared = 0;
  for (const TensorPlan& plan : files[0].tensors) {
    EXPECT_EQ(ours[plan.name]["dtype"], peer[plan.name]["dtype"]) << plan.name;
    EXPECT_EQ(ours[plan.name]["shape"], peer[plan.name]["shape"]) << plan.name;
    if (plan.piece.empty() || !file.contains(plan.name)) continue;
    EncodedLinear linear = unpack(file, plan.source, codec);
    std::vector<std::byte> bytes(static_cast<std::size_t>(plan.bytes));
    packed_container().pack(output, model, plan, linear, bytes);
    EXPECT_EQ(bytes, file.at(plan.name).bytes) << plan.name;
    ++compared;
    linear.codes[3] ^= 1U;  // mutants
    linear.params[1].scale *= 2;
    linear.params[1].offset += linear.params[1].offset > 0 ? -1.0F : 1.0F;
    packed_container().pack(output, model, plan, linear, bytes);
    EXPECT_EQ(bytes == file.at(plan.name).bytes, plan.piece == "weight_shape") << plan.name;
  }
  EXPECT_GE(compared, 21);
}

INSTANTIATE_TEST_SUITE_P(Peers, CompressedTensorsPeer,
                         testing::Values(Peer{"ct-gptq-w4a16", 4, true}, Peer{"ct-gptq-w4a16-asym", 4, false},
                                         Peer{"ct-gptq-w8a16", 8, true}),
                         [](const auto& param) {
                           std::string name = param.param.folder;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Signed codes -7 … 0 are the nibbles 1 … 8, so are zero points of rows 0 … 7.
TEST(CompressedTensors, WorkedExamples) {
  const ModelSpec model = make_model({});
  const OutputSpec output = make_output("compressed-tensors", model, {.bits = 4, .group_size = 8, .symmetric = false});
  EncodedLinear linear{.codec = output.linears[0].codec, .rows = 8, .cols = 8, .codes = {}, .params = {}, .g_idx = {}};
  for (int n = 0; n < 8; ++n) {
    for (int k = 0; k < 8; ++k) linear.codes.push_back(static_cast<std::uint8_t>(k + 1));
    linear.params.push_back({1.0F, static_cast<float>(n + 1)});
  }
  std::array<std::uint32_t, 8> words{};
  packed_container().pack(output, model, {"x.weight_packed", "x", "weight_packed", 0, 32}, linear,
                          std::as_writable_bytes(std::span(words)));
  EXPECT_THAT(words, testing::Each(0x87654321U));
  std::uint32_t zeros = 0;
  packed_container().pack(output, model, {"x.weight_zero_point", "x", "weight_zero_point", 0, 4}, linear,
                          std::as_writable_bytes(std::span(&zeros, 1)));
  EXPECT_EQ(zeros, 0x87654321U);
}

TEST(CompressedTensors, RefusesWhatReadersCannotHold) {
  const ModelSpec model = make_model({.intermediate = 172});
  EXPECT_EQ(refusal(int_output("compressed-tensors", model, 4, -1), model), "");
  EXPECT_EQ(refusal(int_output("compressed-tensors", model, 2, 4, false), model), "");
  EXPECT_THAT(refusal(int_output("compressed-tensors", model, 3, -1), model), testing::HasSubstr("3 bits"));
  EXPECT_THAT(refusal(int_output("compressed-tensors", model), model), testing::HasSubstr("172"));
  OutputSpec ordered = int_output("compressed-tensors", model, 4, -1);
  ordered.linears[0].has_g_idx = true;
  EXPECT_THAT(refusal(ordered, model), testing::HasSubstr("activation order"));
}

TEST(CompressedTensors, ScalesHaveTheModelsDtype) {
  EXPECT_EQ(packed_container().scale_dtype(make_model({.dtype = DType::kBF16})), DType::kBF16);
  EXPECT_EQ(packed_container().scale_dtype(make_model({.dtype = DType::kF16})), DType::kF16);
  EXPECT_EQ(packed_container().scale_dtype(make_model({.dtype = DType::kF32})), DType::kF16);
}

TEST(CompressedTensorsConfig, PlainOutput) {
  const ModelSpec model = make_model({});
  const Json config = compressed_tensors_config(int_output("compressed-tensors", model), facts_of(model));
  EXPECT_EQ(config["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["format"], "pack-quantized");
  EXPECT_EQ(config["quantization_status"], "compressed");
  EXPECT_EQ(config["ignore"], Json::array({"lm_head"}));
  ASSERT_EQ(config["config_groups"].size(), 1U);
  const Json& group = config["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], Json::array({"Linear"}));
  EXPECT_EQ(group["weights"]["num_bits"], 4);
  EXPECT_EQ(group["weights"]["strategy"], "group");
  EXPECT_EQ(group["weights"]["group_size"], 32);
  EXPECT_EQ(group["weights"]["actorder"], "static");
  EXPECT_TRUE(compressed_tensors_notes(int_output("compressed-tensors", model), model).empty());
  const Json channel = compressed_tensors_config(int_output("compressed-tensors", model, 8, -1, false),
                                                 facts_of(model))["config_groups"]["group_0"]["weights"];
  EXPECT_EQ(channel["strategy"], "channel");
  EXPECT_TRUE(channel["group_size"].is_null());
  EXPECT_EQ(channel["symmetric"], false);
}

TEST(CompressedTensorsConfig, MixedOutput) {
  const ModelSpec model = make_model({});
  OutputSpec output = int_output("compressed-tensors", model);
  std::erase_if(output.linears, [](const LinearChoice& c) { return c.linear.module == "model.layers.1.mlp.down_proj"; });
  for (LinearChoice& choice : output.linears)
    if (choice.linear.role == Role::kValue) choice.codec.bits = 8;
  const Json config = compressed_tensors_config(output, facts_of(model));
  ASSERT_EQ(config["config_groups"].size(), 2U);
  EXPECT_EQ(config["config_groups"]["group_1"]["targets"], Json::array({R"(re:^model\.layers\.\d+\.self_attn\.v_proj$)"}));
  EXPECT_EQ(config["config_groups"]["group_1"]["weights"]["num_bits"], 8);
  EXPECT_THAT(config["config_groups"]["group_0"]["targets"].get<std::vector<std::string>>(),
              testing::Contains(R"(re:^model\.layers\.0\.mlp\.down_proj$)"));
  EXPECT_EQ(config["ignore"], Json::array({"model.layers.1.mlp.down_proj", "lm_head"}));
  EXPECT_THAT(compressed_tensors_notes(output, model),
              testing::ElementsAre(testing::HasSubstr("decodes the others wrongly"), testing::HasSubstr("vLLM")));
  output.linears.front().codec.symmetric = false;
  EXPECT_THAT(compressed_tensors_notes(output, model),
              testing::ElementsAre(testing::HasSubstr("cannot load it"), testing::HasSubstr("vLLM")));
}

// What a card tells to do is what the output's reader takes.
TEST(CompressedTensorsConfig, CardsSayHowToLoad) {
  const ModelSpec model = make_model({});
  RunFacts facts = facts_of(model);
  const auto card = [&](const OutputSpec& output) {
    facts.notes = compressed_tensors_notes(output, model);
    return model_card(output, facts).content;
  };
  OutputSpec output = int_output("compressed-tensors", model);
  EXPECT_THAT(card(output),
              testing::AllOf(testing::HasSubstr("from_pretrained(\"path"), testing::Not(testing::HasSubstr("Note"))));
  OutputSpec asymmetric = int_output("compressed-tensors", model, 4, 32, false);
  EXPECT_THAT(card(asymmetric), testing::HasSubstr("CompressedTensorsConfig(dequantize=True))\n"));
  asymmetric.linears.front().codec.bits = 8;
  EXPECT_THAT(card(asymmetric), testing::AllOf(testing::Not(testing::HasSubstr("from_pretrained")),
                                               testing::HasSubstr("Note: Transformers 5.23 cannot load it")));
}

}  // namespace
}  // namespace mpiquant
