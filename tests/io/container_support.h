#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "io/container.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "src/base/error.h"
#include "tests/io/fixtures.h"

// Models, linears and files for the tests of containers.
namespace mpiquant::test {

struct Sizes {
  std::int64_t hidden = 64, intermediate = 128, vocab = 96, layers = 2, heads = 4, kv_heads = 2, head_dim = 16;
  bool bias = false, tied = false;
  DType dtype = DType::kBF16;
};

inline ModelSpec make_model(const Sizes& sizes) {
  ModelSpec model;
  model.architecture = "LlamaForCausalLM";
  model.model_type = "llama";
  model.hidden = sizes.hidden;
  model.intermediate = sizes.intermediate;
  model.vocab = sizes.vocab;
  model.heads = sizes.heads;
  model.kv_heads = sizes.kv_heads;
  model.head_dim = sizes.head_dim;
  model.context = 512;
  model.norm_eps = 1e-6;
  model.rope.theta = 10000;
  model.dtype = sizes.dtype;
  model.tied = sizes.tied;
  model.embedding = "model.embed_tokens.weight";
  model.final_norm = "model.norm.weight";
  model.head = {"lm_head", Role::kHead, sizes.vocab, sizes.hidden, false};
  const std::int64_t q = sizes.heads * sizes.head_dim;
  const std::int64_t kv = sizes.kv_heads * sizes.head_dim;
  for (std::int64_t i = 0; i < sizes.layers; ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    LayerSpec layer{.index = i,
                    .input_norm = p + "input_layernorm.weight",
                    .post_attention_norm = p + "post_attention_layernorm.weight",
                    .blocks = {},
                    .sliding_window = 0};
    layer.blocks = {{"qkv",
                     {{p + "self_attn.q_proj", Role::kQuery, q, sizes.hidden, sizes.bias},
                      {p + "self_attn.k_proj", Role::kKey, kv, sizes.hidden, sizes.bias},
                      {p + "self_attn.v_proj", Role::kValue, kv, sizes.hidden, sizes.bias}}},
                    {"o", {{p + "self_attn.o_proj", Role::kOutput, sizes.hidden, q, sizes.bias}}},
                    {"gate_up",
                     {{p + "mlp.gate_proj", Role::kGate, sizes.intermediate, sizes.hidden, sizes.bias},
                      {p + "mlp.up_proj", Role::kUp, sizes.intermediate, sizes.hidden, sizes.bias}}},
                    {"down", {{p + "mlp.down_proj", Role::kDown, sizes.hidden, sizes.intermediate, sizes.bias}}}};
    model.layers.push_back(std::move(layer));
  }
  return model;
}

// Every linear of the layers with the codec, everything else as floats.
inline OutputSpec make_output(const std::string& container, const ModelSpec& model, const CodecSpec& codec,
                              bool with_head = false) {
  OutputSpec output;
  output.label = output.container = container;
  output.dense.push_back({model.embedding, model.embedding, {model.vocab, model.hidden}, model.dtype});
  const auto place = [&](const LinearSpec& linear) {
    output.linears.push_back({linear, false, codec, false});
    if (linear.has_bias) output.dense.push_back({linear.bias(), linear.bias(), {linear.rows}, model.dtype});
  };
  for (const LayerSpec& layer : model.layers) {
    output.dense.push_back({layer.input_norm, layer.input_norm, {model.hidden}, model.dtype});
    output.dense.push_back({layer.post_attention_norm, layer.post_attention_norm, {model.hidden}, model.dtype});
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) place(linear);
  }
  output.dense.push_back({model.final_norm, model.final_norm, {model.hidden}, model.dtype});
  if (with_head)
    place(model.head);
  else if (!model.tied)
    output.dense.push_back({model.head.weight(), model.head.weight(), {model.vocab, model.hidden}, model.dtype});
  return output;
}

inline OutputSpec int_output(const std::string& container, const ModelSpec& model, int bits = 4, std::int64_t group = 32,
                             bool symmetric = true) {
  return make_output(container, model, {.kind = CodecKind::kInt, .bits = bits, .group_size = group, .symmetric = symmetric});
}

// What the output's container says against it; "" when it takes it.
inline std::string refusal(const OutputSpec& output, const ModelSpec& model) {
  try {
    find_container(output.container).check(output, model);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "";
}

inline RunFacts facts_of(const ModelSpec& model) {
  RunFacts facts;
  facts.model = &model;
  facts.program_version = "1.2.3";
  facts.method = "gptq";
  facts.act_order = "static";
  return facts;
}

inline EncodedLinear random_linear(const LinearSpec& spec, const CodecSpec& codec, std::mt19937& random) {
  EncodedLinear linear{.codec = codec, .rows = spec.rows, .cols = spec.cols, .codes = {}, .params = {}, .g_idx = {}};
  const int levels = 1 << codec.bits;
  for (std::int64_t i = 0; i < spec.rows * spec.cols; ++i)
    linear.codes.push_back(static_cast<std::uint8_t>(random() % static_cast<unsigned>(levels)));
  for (std::int64_t i = 0; i < spec.rows * codec.groups(spec.cols); ++i) {
    GroupParams params;
    params.scale = round_to(codec.scale_dtype, static_cast<float>(random() % 1000 + 1) / 32768.0F);
    if (codec.kind == CodecKind::kInt)
      params.offset =
          codec.symmetric ? static_cast<float>(levels / 2) : static_cast<float>(random() % static_cast<unsigned>(levels));
    if (codec.kind == CodecKind::kQ4_1) params.offset = round_to(DType::kF16, -static_cast<float>(random() % 1000) / 4096.0F);
    linear.params.push_back(params);
  }
  for (std::int64_t k = 0; k < spec.cols; ++k) linear.g_idx.push_back(static_cast<std::int32_t>(k / codec.group_of(spec.cols)));
  return linear;
}

// Defines `variable` as the path of a shared fixture, or skips the test (and says so) where it is absent.
#define MQ_FIXTURE(variable, name)                 \
  const std::string variable = fixture_path(name); \
  if (variable.empty()) GTEST_SKIP() << "shared fixtures are absent"

// All tensors of a safetensors file.
struct LoadedTensor {
  DType dtype;
  Shape shape;
  std::vector<std::byte> bytes;

  template <typename T>
  std::vector<T> as() const {
    std::vector<T> values(bytes.size() / sizeof(T));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
};
using LoadedFile = std::map<std::string, LoadedTensor>;

inline LoadedFile load_safetensors(const std::string& path) {
  const File file = File::open_read(path);
  LoadedFile tensors;
  for (const SafetensorsEntry& entry : parse_safetensors_header(file).entries) {
    LoadedTensor& tensor = tensors[entry.name];
    tensor.dtype = *dtype_from_safetensors(entry.dtype);
    tensor.shape = entry.shape;
    tensor.bytes.resize(static_cast<std::size_t>(entry.bytes));
    file.read_at(entry.offset, tensor.bytes);
  }
  return tensors;
}

}  // namespace mpiquant::test
