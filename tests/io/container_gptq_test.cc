#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/gptq_config.h"
#include "io/packing.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;

const Container& gptq() { return find_container("gptq"); }

// A linear of a peer's file as codes; z = stored + 1 in format v1.
EncodedLinear unpack(const LoadedFile& file, const std::string& module, const CodecSpec& codec, bool v1) {
  const LoadedTensor& qweight = file.at(module + ".qweight");
  const LoadedTensor& scales = file.at(module + ".scales");
  EncodedLinear linear;
  linear.codec = codec;
  linear.g_idx = file.at(module + ".g_idx").as<std::int32_t>();
  linear.rows = qweight.shape[1];
  linear.cols = static_cast<std::int64_t>(linear.g_idx.size());
  linear.codes.resize(static_cast<std::size_t>(linear.rows * linear.cols));
  unpack_columns(qweight.bytes, linear.rows, linear.cols, codec.bits, linear.codes);
  const std::int64_t groups = scales.shape[0];
  std::vector<std::uint8_t> zeros(static_cast<std::size_t>(groups * linear.rows));
  unpack_rows(file.at(module + ".qzeros").bytes, groups, linear.rows, codec.bits, zeros);
  const auto scale_bits = scales.as<std::uint16_t>();
  linear.params.resize(zeros.size());
  for (std::int64_t n = 0; n < linear.rows; ++n)
    for (std::int64_t g = 0; g < groups; ++g) {
      const auto from = static_cast<std::size_t>(g * linear.rows + n);
      linear.params[static_cast<std::size_t>(n * groups + g)] = {f16_to_f32(scale_bits[from]),
                                                                 static_cast<float>(zeros[from] + (v1 ? 1 : 0))};
    }
  return linear;
}

std::vector<std::byte> packed(const OutputSpec& output, const ModelSpec& model, const std::string& piece,
                              const EncodedLinear& linear, std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  gptq().pack(output, model,
              {.name = "x." + piece, .source = "x", .piece = piece, .offset = 0, .bytes = static_cast<std::int64_t>(bytes)},
              linear, out);
  return out;
}

struct Checkpoint {
  std::string folder;
  int bits;
  std::int64_t group;
  bool symmetric;
};

class GptqPeer : public testing::TestWithParam<Checkpoint> {};

// Unpacking a peer's linears and packing them again gives the peer's bytes.
TEST_P(GptqPeer, SameBytes) {
  MQ_FIXTURE(root, "peer-outputs");
  const auto& [folder, bits, group, symmetric] = GetParam();
  const LoadedFile file = load_safetensors(root + "/" + folder + "/stored.safetensors");
  const CodecSpec codec{.kind = CodecKind::kInt, .bits = bits, .group_size = group, .symmetric = symmetric};
  const ModelSpec model =
      make_model({.hidden = 256, .intermediate = 768, .vocab = 2048, .layers = 6, .heads = 8, .kv_heads = 4, .head_dim = 32});
  const OutputSpec output = make_output("gptq", model, codec);
  int linears = 0;
  for (const LinearChoice& choice : output.linears) {
    const std::string& module = choice.linear.module;
    if (!file.contains(module + ".qweight")) continue;
    ++linears;
    const bool peer_v1 = !folder.ends_with("v2");
    const EncodedLinear linear = unpack(file, module, codec, peer_v1);
    for (const char* piece : {"qweight", "qzeros", "scales", "g_idx"}) {
      const LoadedTensor& peer = file.at(module + "." + piece);
      std::vector<std::byte> ours = packed(output, model, piece, linear, peer.bytes.size());
      if (std::string(piece) == "qzeros" && gptq_is_v1(output) != peer_v1) {  // the same zero points, stored one higher or lower
        std::vector<std::uint8_t> a(static_cast<std::size_t>(peer.shape[0] * linear.rows)), b(a.size());
        unpack_rows(ours, peer.shape[0], linear.rows, bits, a);
        unpack_rows(peer.bytes, peer.shape[0], linear.rows, bits, b);
        for (std::size_t i = 0; i < a.size(); ++i) ASSERT_EQ(a[i], b[i] + (peer_v1 ? 1 : -1)) << module << " " << i;
      } else {
        EXPECT_EQ(ours, peer.bytes) << module << "." << piece;
      }
    }
    EncodedLinear wrong = linear;  // mutants: a code, a zero point, two rows
    wrong.codes[5] ^= 1U;
    EXPECT_NE(packed(output, model, "qweight", wrong, file.at(module + ".qweight").bytes.size()),
              file.at(module + ".qweight").bytes);
    wrong = linear;
    wrong.params[3].offset += wrong.params[3].offset > 1 ? -1.0F : 1.0F;
    EXPECT_NE(packed(output, model, "qzeros", wrong, file.at(module + ".qzeros").bytes.size()),
              packed(output, model, "qzeros", linear, file.at(module + ".qzeros").bytes.size()));
  }
  EXPECT_GE(linears, 7);
}

INSTANTIATE_TEST_SUITE_P(Peers, GptqPeer,
                         testing::Values(Checkpoint{"gptq-w4g128-sym", 4, 128, true},
                                         Checkpoint{"gptq-w4g128-sym-v2", 4, 128, true},
                                         Checkpoint{"gptq-w3g128-sym", 3, 128, true}, Checkpoint{"gptq-w2g32-sym", 2, 32, true},
                                         Checkpoint{"gptq-w8g128-sym", 8, 128, true},
                                         Checkpoint{"gptq-w4g32-asym-desc_act", 4, 32, false}),
                         [](const auto& param) {
                           std::string name = param.param.folder;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Names, dtypes, shapes and (for a model of one file) offsets are the peer's.
TEST(GptqContainer, HeaderIsThePeers) {
  MQ_FIXTURE(root, "peer-outputs");
  const ModelSpec model =
      make_model({.hidden = 256, .intermediate = 768, .vocab = 2048, .layers = 6, .heads = 8, .kv_heads = 4, .head_dim = 32});
  for (const auto& [folder, bits, group] :
       {std::tuple{"gptq-w4g128-sym", 4, 128}, {"gptq-w3g128-sym", 3, 128}, {"gptq-w2g32-sym", 2, 32}}) {
    const OutputSpec output = make_output("gptq", model, {.kind = CodecKind::kInt, .bits = bits, .group_size = group});
    const auto files = gptq().layout(output, facts_of(model));
    ASSERT_EQ(files.size(), 1U);
    EXPECT_EQ(files[0].path, "model.safetensors");
    const Json manifest = parse_json(read_text_file(root + "/" + folder + "/manifest.json"), "manifest");
    const Json peer = parse_json(manifest["model.safetensors"]["header"].get<std::string>(), "header");
    const std::string ours_text(reinterpret_cast<const char*>(files[0].header.data()) + 8, files[0].header.size() - 8);
    const Json ours = parse_json(ours_text, "ours");
    ASSERT_EQ(ours.size(), peer.size());
    for (const auto& [name, entry] : peer.items()) {
      if (name == "__metadata__") continue;
      EXPECT_EQ(ours[name]["dtype"], entry["dtype"]) << name;
      EXPECT_EQ(ours[name]["shape"], entry["shape"]) << name;
    }
  }
}

TEST(GptqContainer, RefusesWhatReadersCannotHold) {
  const ModelSpec model = make_model({});
  EXPECT_EQ(refusal(int_output("gptq", model), model), "");
  EXPECT_EQ(refusal(int_output("gptq", model, 3, -1, false), model), "");
  EXPECT_THAT(refusal(int_output("gptq", model, 5), model), testing::HasSubstr("5 bits"));
  EXPECT_THAT(refusal(int_output("gptq", model, 4, 48), model), testing::HasSubstr("48"));
  const ModelSpec odd = make_model({.intermediate = 172});
  EXPECT_THAT(refusal(int_output("gptq", odd, 4, -1), odd), testing::HasSubstr("172"));
  const ModelSpec tied = make_model({.tied = true});
  OutputSpec head = make_output("gptq", tied, {.kind = CodecKind::kInt, .bits = 4, .group_size = 32}, true);
  EXPECT_THAT(refusal(head, tied), testing::HasSubstr("--untie"));
  head.untied = true;
  EXPECT_EQ(refusal(head, tied), "");
}

TEST(GptqConfig, PlainOutput) {
  const ModelSpec model = make_model({});
  const Json config = gptq_config(int_output("gptq", model), facts_of(model));
  EXPECT_EQ(config["bits"], 4);
  EXPECT_EQ(config["group_size"], 32);
  EXPECT_EQ(config["desc_act"], false);
  EXPECT_EQ(config["sym"], true);
  EXPECT_EQ(config["checkpoint_format"], "gptq");
  EXPECT_EQ(config["quant_method"], "gptq");
  EXPECT_EQ(config["lm_head"], false);
  EXPECT_EQ(config["meta"]["quantizer"][0], "mpiquant:1.2.3");
  EXPECT_FALSE(config.contains("dynamic"));
  EXPECT_FALSE(config.contains("modules_in_block_to_quantize"));
  EXPECT_TRUE(gptq_notes(int_output("gptq", model), model).empty());
  EXPECT_EQ(gptq_config(int_output("gptq", model, 4, 32, false), facts_of(model))["checkpoint_format"], "gptq_v2");
}

TEST(GptqConfig, SuffixDenseEverywhere) {
  const ModelSpec model = make_model({});
  OutputSpec output = int_output("gptq", model);
  std::erase_if(output.linears, [](const LinearChoice& c) { return c.linear.role == Role::kDown; });
  const Json config = gptq_config(output, facts_of(model));
  EXPECT_EQ(
      config["modules_in_block_to_quantize"].dump(),
      R"([["self_attn.q_proj","self_attn.k_proj","self_attn.v_proj"],["self_attn.o_proj"],["mlp.gate_proj","mlp.up_proj"]])");
  EXPECT_EQ(config["dynamic"].dump(), R"({"-:^model\\.layers\\.\\d+\\.mlp\\.down_proj$":{}})");
  EXPECT_TRUE(gptq_notes(output, model).empty());
}

TEST(GptqConfig, MixedBitsAreDynamicAndNoted) {
  const ModelSpec model = make_model({});
  OutputSpec output = int_output("gptq", model);
  for (LinearChoice& choice : output.linears)
    if (choice.linear.module == "model.layers.1.self_attn.v_proj") choice.codec.bits = 8;
  const Json config = gptq_config(output, facts_of(model));
  EXPECT_EQ(config["dynamic"].dump(), R"({"+:^model\\.layers\\.1\\.self_attn\\.v_proj$":{"bits":8}})");
  EXPECT_THAT(gptq_notes(output, model), testing::ElementsAre(testing::HasSubstr("Transformers")));
}

}  // namespace
}  // namespace mpiquant
