#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "io/ggml_blocks.h"
#include "io/gguf.h"
#include "io/gguf_llama.h"
#include "io/gguf_metadata.h"
#include "io/safetensors_source.h"
#include "src/base/hash.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;

const Container& gguf() { return find_container("gguf"); }

ModelSpec tiny_llama() {
  ModelSpec model =
      make_model({.hidden = 256, .intermediate = 768, .vocab = 2048, .layers = 6, .heads = 8, .kv_heads = 4, .head_dim = 32});
  model.context = 512;
  return model;
}

RunFacts tiny_facts(const ModelSpec& model) {
  RunFacts facts = facts_of(model);
  facts.model_dir = bundled_model();
  facts.model_name = "tiny-llama";
  return facts;
}

// Every linear dense, as for the float types.
OutputSpec float_output(const ModelSpec& model, const std::string& type) {
  OutputSpec output = make_output("gguf", model, {});
  for (const LinearChoice& choice : output.linears)
    output.dense.push_back(
        {choice.linear.weight(), choice.linear.weight(), {choice.linear.rows, choice.linear.cols}, model.dtype});
  output.linears.clear();
  output.gguf_type = type;
  return output;
}

CodecSpec codec_of(CodecKind kind) { return *ggml_codec(*ggml_type_of(kind)); }

OutputSpec block_output(const ModelSpec& model, CodecKind kind, const std::string& type) {
  OutputSpec output = make_output("gguf", model, codec_of(kind));
  output.gguf_type = type;
  return output;
}

std::vector<std::byte> dense_bytes(const OutputSpec& output, const ModelSpec& model, const TensorPlan& plan,
                                   const TensorSource& source) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(plan.bytes));
  const RowReader read = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
    source.read_rows(plan.source, begin, end, out);
  };
  gguf().write_dense(output, model, plan, 0, plan.bytes / gguf().dense_row_bytes(output, model, plan), read, bytes);
  return bytes;
}

std::string sha256_of(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

// json.dumps(list) of Python
template <typename T>
std::string python_json(const std::vector<T>& values) {
  std::string text = "[";
  for (std::size_t i = 0; i < values.size(); ++i) text += (i > 0 ? ", " : "") + Json(values[i]).dump(-1, ' ', true);
  return text + "]";
}

// A value as the peer's list of metadata shows it.
Json as_listed(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>> || std::is_same_v<T, std::vector<std::int32_t>>) {
          return sha256_hex(python_json(v));
        } else if constexpr (std::is_same_v<T, float>) {
          return static_cast<double>(v);
        } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
          return v;
        } else {
          return "another type";
        }
      },
      value);
}

class GgufPeer : public testing::TestWithParam<std::pair<const char*, const char*>> {};

// Keys and values of llama.cpp's converter, and of every tensor name, type, extents and bytes.
TEST_P(GgufPeer, FloatFileIsTheConverters) {
  MQ_FIXTURE(path, std::string("peer-outputs/gguf/tiny-llama-") + GetParam().first + ".json");
  const Json peer = parse_json(read_text_file(path), "peer");
  const ModelSpec model = tiny_llama();
  const OutputSpec output = float_output(model, GetParam().second);
  gguf().check(output, model);
  const auto files = gguf().layout(output, tiny_facts(model));
  ASSERT_EQ(files.size(), 1U);
  EXPECT_EQ(files[0].path, std::string("tiny-llama-") + GetParam().first + ".gguf");
  EXPECT_EQ(files[0].bytes, peer["bytes"].get<std::int64_t>());

  const TemporaryFolder folder;
  std::string raw(reinterpret_cast<const char*>(files[0].header.data()), files[0].header.size());
  raw.resize(static_cast<std::size_t>(files[0].bytes));
  std::ofstream(folder / "x.gguf", std::ios::binary) << raw;
  const GgufHeader header = parse_gguf(File::open_read(folder / "x.gguf"));
  std::map<std::string, Json> ours;
  for (const auto& [key, value] : header.values) ours[key] = as_listed(value);
  for (const auto& [key, entry] : peer["kv"].items()) {
    if (key.starts_with("GGUF.")) continue;
    ASSERT_TRUE(ours.contains(key)) << key;
    EXPECT_EQ(ours[key], entry[1].is_object() ? entry[1]["sha256_of_json"] : entry[1]) << key;
    ours.erase(key);
  }
  for (const auto& [key, value] : ours) ADD_FAILURE() << "the peer has no " << key;

  const SafetensorsSource source(bundled_model());
  ASSERT_EQ(files[0].tensors.size(), peer["tensors"].size());
  for (const TensorPlan& plan : files[0].tensors) {
    ASSERT_TRUE(peer["tensors"].contains(plan.name)) << plan.name;
    const Json& entry = peer["tensors"][plan.name];
    const GgufTensor* stored = header.find_tensor(plan.name);
    ASSERT_NE(stored, nullptr);
    EXPECT_EQ(info(stored->type).name, entry[0].get<std::string>());
    EXPECT_EQ(stored->dims, entry[1].get<std::vector<std::int64_t>>());
    EXPECT_EQ(stored->offset, plan.offset);
    EXPECT_EQ(sha256_of(dense_bytes(output, model, plan, source)), entry[3].get<std::string>()) << plan.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GgufPeer, testing::Values(std::pair{"F32", "f32"}, std::pair{"BF16", "bf16"}),
                         [](const auto& param) { return std::string(param.param.first); });

// llama-quantize's bytes: embeddings and output by --embedding-type, --output-type; linears packed from codes.
TEST(GgufContainer, RoundedToNearestAsLlamaQuantize) {
  const ModelSpec model = tiny_llama();
  const SafetensorsSource source(bundled_model());
  for (const auto& [kind, type, peer_name] : {std::tuple{CodecKind::kQ8_0, "q8_0", "Q8_0"}, {CodecKind::kQ4_0, "q4_0", "Q4_0"}}) {
    MQ_FIXTURE(path, std::string("peer-outputs/gguf/tiny-llama-") + peer_name + ".json");
    const Json peer = parse_json(read_text_file(path), "peer");
    OutputSpec output = block_output(model, kind, type);
    output.embedding_type = output.output_type = type;
    gguf().check(output, model);
    const auto files = gguf().layout(output, tiny_facts(model));
    int compared = 0;
    for (const TensorPlan& plan : files[0].tensors) {
      const Json& entry = peer["tensors"][plan.name];
      if (plan.piece.empty()) {
        if (plan.name == "output.weight" && entry[0] != peer_name) continue;  // llama-quantize raises it to Q6_K
        EXPECT_EQ(sha256_of(dense_bytes(output, model, plan, source)), entry[3].get<std::string>()) << plan.name;
        ++compared;
        continue;
      }
      const LinearSpec& spec =
          std::ranges::find(output.linears, plan.source, [](const auto& c) { return c.linear.module; })->linear;
      const auto cols = static_cast<std::size_t>(spec.cols);
      EncodedLinear linear{.codec = codec_of(kind), .rows = spec.rows, .cols = spec.cols, .codes = {}, .params = {}, .g_idx = {}};
      linear.codes.resize(static_cast<std::size_t>(spec.rows) * cols);
      linear.params.resize(linear.codes.size() / 32);
      std::vector<float> row(cols);
      std::vector<std::byte> encoded(cols / 32 * static_cast<std::size_t>(info(*ggml_type_of(kind)).block_bytes));
      for (std::int64_t n = 0; n < spec.rows; ++n) {
        source.read_rows(spec.weight(), n, n + 1, row);
        encode_ggml_row(kind, row, encoded);
        const auto at = static_cast<std::size_t>(n);
        unpack_ggml_row(kind, encoded, std::span(linear.codes).subspan(at * cols, cols),
                        std::span(linear.params).subspan(at * cols / 32, cols / 32));
      }
      std::vector<std::byte> bytes(static_cast<std::size_t>(plan.bytes));
      gguf().pack(output, model, plan, linear, bytes);
      EXPECT_EQ(sha256_of(bytes), entry[3].get<std::string>()) << plan.name;
      ++compared;
      std::swap(linear.params[0], linear.params[1]);  // mutant
      gguf().pack(output, model, plan, linear, bytes);
      EXPECT_NE(sha256_of(bytes), entry[3].get<std::string>()) << plan.name;
    }
    EXPECT_EQ(compared, kind == CodecKind::kQ8_0 ? 57 : 56);
  }
}

TEST(GgmlBlocks, GoldenBytes) {
  MQ_FIXTURE(root, "gguf-golden");
  const std::string input = read_text_file(root + "/input_f32_12x1024.bin");
  std::vector<float> values(12 * 1024);
  std::memcpy(values.data(), input.data(), input.size());
  for (const auto& [kind, name] : {std::pair{CodecKind::kQ8_0, "q8_0"}, {CodecKind::kQ4_0, "q4_0"}, {CodecKind::kQ4_1, "q4_1"}}) {
    const std::string golden = read_text_file(root + "/" + name + ".bin");
    const std::size_t row_bytes = golden.size() / 12;
    std::vector<std::byte> ours(golden.size());
    for (std::size_t row = 0; row < 12; ++row)
      encode_ggml_row(kind, std::span(values).subspan(row * 1024, 1024), std::span(ours).subspan(row * row_bytes, row_bytes));
    EXPECT_EQ(std::memcmp(ours.data(), golden.data(), golden.size()), 0) << name;

    std::vector<std::uint8_t> codes(1024);
    std::vector<GroupParams> params(32);
    std::vector<std::byte> again(row_bytes);
    for (std::size_t row = 0; row < 12; ++row) {
      const auto bytes = std::span(std::as_const(ours)).subspan(row * row_bytes, row_bytes);
      unpack_ggml_row(kind, bytes, codes, params);
      pack_ggml_row(kind, codes, params, again);
      EXPECT_TRUE(std::ranges::equal(bytes, again)) << name << " row " << row;
      std::vector<float> decoded(1024);
      decode_ggml_rows(*ggml_type_of(kind), 1024, bytes, decoded);
      for (std::size_t k = 0; k < 1024; ++k) {
        const float q = static_cast<float>(codes[k]);
        const GroupParams& p = params[k / 32];
        const float expected = kind == CodecKind::kQ8_0   ? p.scale * (q - 128)
                               : kind == CodecKind::kQ4_0 ? p.scale * (q - 8)
                                                          : p.scale * q + p.offset;
        ASSERT_EQ(decoded[k], expected);
      }
    }
  }
}

TEST(GgufContainer, NamesGoBothWays) {
  EXPECT_EQ(gguf_name("model.layers.17.self_attn.o_proj.bias"), "blk.17.attn_output.bias");
  EXPECT_EQ(gguf_name("model.layers.0.post_attention_layernorm.weight"), "blk.0.ffn_norm.weight");
  EXPECT_EQ(gguf_name("lm_head.weight"), "output.weight");
  EXPECT_EQ(hf_name("blk.17.attn_output.bias"), "model.layers.17.self_attn.o_proj.bias");
  EXPECT_EQ(hf_name("token_embd.weight"), "model.embed_tokens.weight");
  for (const char* unknown :
       {"model.layers.x.mlp.up_proj.weight", "model.layers.0.mlp.experts.weight", "model.layers.0.", "weight", ""})
    EXPECT_EQ(gguf_name(unknown), std::nullopt) << unknown;
  EXPECT_EQ(hf_name("blk.0.ffn_up_exps.weight"), std::nullopt);
}

TEST(GgufContainer, SizeLabels) {
  EXPECT_EQ(size_label(5.79e6), "5.8M");
  EXPECT_EQ(size_label(134.5e6), "134M");
  EXPECT_EQ(size_label(8.03e9), "8.0B");
  EXPECT_EQ(size_label(70.6e9), "71B");
  EXPECT_EQ(size_label(260032), "260K");
}

TEST(GgufContainer, RefusesWhatReadersCannotHold) {
  const ModelSpec model = make_model({});
  OutputSpec output = block_output(model, CodecKind::kQ4_0, "q4_0");
  output.linears[2].has_g_idx = true;
  EXPECT_THAT(refusal(output, model), testing::HasSubstr("activation order"));
  EXPECT_THAT(refusal(make_output("gguf", model, {}), model), testing::HasSubstr("not written here"));
  output = make_output("gguf", model, {});
  output.gguf_type = "q4_0";
  EXPECT_THAT(refusal(output, model), testing::HasSubstr("no GGUF type"));
  const ModelSpec odd = make_model({.intermediate = 172});
  EXPECT_THAT(refusal(block_output(odd, CodecKind::kQ4_0, "q4_0"), odd), testing::HasSubstr("172"));
  const ModelSpec tied = make_model({.tied = true});
  output = block_output(tied, CodecKind::kQ4_0, "q4_0");
  output.output_type = "q8_0";
  EXPECT_THAT(refusal(output, tied), testing::HasSubstr("--embedding-type"));
  ModelSpec other = make_model({});
  other.architecture = "Qwen2ForCausalLM";
  EXPECT_THAT(refusal(block_output(other, CodecKind::kQ4_0, "q4_0"), other), testing::HasSubstr("Qwen2"));
}

TEST(GgufContainer, RopeScaling) {
  ModelSpec model = tiny_llama();
  const auto header_of = [&] {
    const OutputSpec output = float_output(model, "f32");
    GgufHeader header;
    header.values = gguf_metadata(output, tiny_facts(model), GgmlType::kF32);
    return header;
  };
  model.rope.type = RopeType::kLinear;
  model.rope.theta = 5e5;
  model.rope.factor = 4;
  EXPECT_EQ(*header_of().get<std::string>("llama.rope.scaling.type"), "linear");
  EXPECT_EQ(*header_of().get<float>("llama.rope.scaling.factor"), 4.0F);
  EXPECT_EQ(*header_of().get<float>("llama.rope.freq_base"), 5e5F);
  model.rope.type = RopeType::kYarn;
  model.rope.original_context = 256;
  EXPECT_EQ(*header_of().get<std::string>("llama.rope.scaling.type"), "yarn");
  EXPECT_EQ(*header_of().get<std::uint32_t>("llama.rope.scaling.original_context_length"), 256U);
  EXPECT_EQ(header_of().find("llama.rope.scaling.attn_factor"), nullptr);
  EXPECT_TRUE(gguf().notes(float_output(model, "f32"), model).empty());
  model.rope.attention_factor = 1;
  model.rope.beta_fast = 20;
  EXPECT_FLOAT_EQ(*header_of().get<float>("llama.rope.scaling.attn_factor"), static_cast<float>(1 / (0.1 * std::log(4.0) + 1)));
  EXPECT_EQ(gguf().notes(float_output(model, "f32"), model).size(), 1U);

  model.rope = RopeSpec();
  model.rope.type = RopeType::kLlama3;
  model.rope.theta = 5e5;
  model.rope.factor = 8;
  model.rope.original_context = 8192;
  EXPECT_EQ(header_of().find("llama.rope.scaling.type"), nullptr);
  const std::vector<float> factors = rope_freqs(model);
  ASSERT_EQ(factors.size(), 16U);
  EXPECT_EQ(factors.front(), 1.0F);
  EXPECT_EQ(factors.back(), 8.0F);
  EXPECT_TRUE(std::ranges::is_sorted(factors));
  const OutputSpec output = float_output(model, "f32");
  const auto files = gguf().layout(output, tiny_facts(model));
  const auto plan = std::ranges::find(files[0].tensors, kRopeFreqs, &TensorPlan::name);
  ASSERT_NE(plan, files[0].tensors.end());
  EXPECT_EQ(plan->source, "");
  std::vector<float> written(16);
  gguf().write_dense(output, model, *plan, 0, 16, {}, std::as_writable_bytes(std::span(written)));
  EXPECT_EQ(written, factors);
}

// Biases of q and k move with their rows, also in pieces that cut heads.
TEST(GgufContainer, PermutesBiasesAndPieces) {
  const ModelSpec model = make_model({.bias = true});
  const OutputSpec output = float_output(model, "f32");
  const RowReader rows = [](std::int64_t begin, std::int64_t end, std::span<float> out) {
    for (std::int64_t row = begin; row < end; ++row)
      std::fill_n(out.begin() + (row - begin) * static_cast<std::int64_t>(out.size()) / (end - begin),
                  static_cast<std::int64_t>(out.size()) / (end - begin), static_cast<float>(row));
  };
  const TensorPlan bias{"blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias", "", 0, 32 * 4};
  std::vector<float> whole(32);
  gguf().write_dense(output, model, bias, 0, 32, rows, std::as_writable_bytes(std::span(whole)));
  EXPECT_THAT(std::vector(whole.begin(), whole.begin() + 6), testing::ElementsAre(0, 8, 1, 9, 2, 10));
  EXPECT_THAT(std::vector(whole.begin() + 16, whole.begin() + 20), testing::ElementsAre(16, 24, 17, 25));
  const TensorPlan weight{"blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight", "", 0, 64 * 64 * 4};
  std::vector<float> all(64 * 64);
  std::vector<float> pieces(64 * 64);
  gguf().write_dense(output, model, weight, 0, 64, rows, std::as_writable_bytes(std::span(all)));
  for (std::int64_t row = 0; row < 64; row += 11) {
    const std::int64_t end = std::min<std::int64_t>(64, row + 11);
    gguf().write_dense(output, model, weight, row, end, rows,
                       std::as_writable_bytes(std::span(pieces).subspan(static_cast<std::size_t>(row * 64),
                                                                        static_cast<std::size_t>((end - row) * 64))));
  }
  EXPECT_EQ(all, pieces);
  EXPECT_EQ(all[64], 8.0F);
}

}  // namespace
}  // namespace mpiquant
