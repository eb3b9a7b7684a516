#include "src/plan/shape.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kMaxSize = std::int64_t{1} << 31;
constexpr std::int64_t kMaxLayers = 10000;

std::int64_t size(const Json& config, const char* key) {
  const auto found = config.find(key);
  check(found != config.end() && found->is_number_integer() && *found > 0 && *found < kMaxSize, ExitCode::kInput,
        "config.json: {} is missing or no size (the model's shapes follow from it) repair the file", key);
  return found->get<std::int64_t>();
}

std::int64_t size_or(const Json& config, const char* key, std::int64_t absent) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? absent : size(config, key);
}

// A count that may be 0.
std::int64_t count_or(const Json& config, const char* key, std::int64_t absent) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_integer() && *found == 0 ? 0 : size_or(config, key, absent);
}

std::int64_t layer_count(const Json& config) {
  const std::int64_t layers = size(config, "num_hidden_layers");
  check(layers <= kMaxLayers, ExitCode::kInput, "config.json: num_hidden_layers = {} is above {}", layers, kMaxLayers);
  return layers;
}

// Queries, keys and values of grouped heads, and the output projection.
LayerShape grouped_attention(const Json& config) {
  const std::int64_t hidden = size(config, "hidden_size"), heads = size(config, "num_attention_heads");
  const std::int64_t dim = size_or(config, "head_dim", hidden / heads),
                     keys = size_or(config, "num_key_value_heads", heads) * dim;
  LayerShape layer;
  layer.blocks = {{"qkv", hidden, {heads * dim, keys, keys}}, {"o", heads * dim, {hidden}}};
  layer.heads = heads;
  layer.key_dim = layer.value_dim = dim;
  layer.window = size_or(config, "sliding_window", 0);
  layer.dense = 2 * hidden;
  return layer;
}

// Multi-head latent attention: low-rank queries and keys (DeepSeek-V2, arXiv 2405.04434, section 2.1).
LayerShape latent_attention(const Json& config) {
  const std::int64_t hidden = size(config, "hidden_size"), heads = size(config, "num_attention_heads");
  const std::int64_t q_rank = size(config, "q_lora_rank"), kv_rank = size(config, "kv_lora_rank");
  const std::int64_t nope = size(config, "qk_nope_head_dim"), rope = size(config, "qk_rope_head_dim");
  const std::int64_t value = size(config, "v_head_dim");
  LayerShape layer;
  layer.blocks = {{"q_a kv_a", hidden, {q_rank, kv_rank + rope}},
                  {"q_b", q_rank, {heads * (nope + rope)}},
                  {"kv_b", kv_rank, {heads * (nope + value)}},
                  {"o", heads * value, {hidden}}};
  layer.attends = 2;
  layer.heads = heads;
  layer.key_dim = nope + rope;
  layer.value_dim = value;
  layer.dense = 2 * hidden + q_rank + kv_rank;
  return layer;
}

void add_mlp(LayerShape& layer, std::int64_t hidden, std::int64_t width, const std::string& prefix = "") {
  layer.blocks.push_back({prefix + "gate_up", hidden, {width, width}});
  layer.blocks.push_back({prefix + "down", width, {hidden}});
}

void add_experts(LayerShape& layer, std::int64_t hidden, std::int64_t width, std::int64_t experts, std::int64_t chosen) {
  check(experts > 1 && chosen <= experts, ExitCode::kInput, "config.json: {} of {} experts (a token is sent to some of several)",
        chosen, experts);
  layer.blocks.push_back({"experts gate_up", hidden, {width, width}, experts, chosen});
  layer.blocks.push_back({"experts down", width, {hidden}, experts, chosen});
  layer.dense += hidden * experts;
}

void deepseek_v3(const Json& config, PlanShape& shape) {
  const std::int64_t width = size(config, "moe_intermediate_size"), dense = count_or(config, "first_k_dense_replace", 0);
  const std::int64_t shared = count_or(config, "n_shared_experts", 0);
  for (std::int64_t i = 0; i < layer_count(config); ++i) {
    LayerShape layer = latent_attention(config);
    if (i < dense) {
      add_mlp(layer, shape.hidden, size(config, "intermediate_size"));
    } else {
      if (shared > 0) add_mlp(layer, shape.hidden, shared * width, "shared ");
      add_experts(layer, shape.hidden, width, size(config, "n_routed_experts"), size(config, "num_experts_per_tok"));
    }
    shape.layers.push_back(std::move(layer));
  }
}

void mixtral(const Json& config, PlanShape& shape) {
  for (std::int64_t i = 0; i < layer_count(config); ++i) {
    LayerShape layer = grouped_attention(config);
    add_experts(layer, shape.hidden, size(config, "intermediate_size"), size(config, "num_local_experts"),
                size(config, "num_experts_per_tok"));
    shape.layers.push_back(std::move(layer));
  }
}

void qwen3_moe(const Json& config, PlanShape& shape) {
  const std::int64_t step = size_or(config, "decoder_sparse_step", 1);
  const char* experts = config.contains("num_experts") ? "num_experts" : "num_local_experts";
  const auto plain = config.find("mlp_only_layers");
  for (std::int64_t i = 0; i < layer_count(config); ++i) {
    LayerShape layer = grouped_attention(config);
    layer.window = 0;
    const bool named = plain != config.end() && plain->is_array() && std::ranges::find(*plain, Json(i)) != plain->end();
    if (named || (i + 1) % step != 0)
      add_mlp(layer, shape.hidden, size(config, "intermediate_size"));
    else
      add_experts(layer, shape.hidden, size(config, "moe_intermediate_size"), size(config, experts),
                  size(config, "num_experts_per_tok"));
    shape.layers.push_back(std::move(layer));
  }
}

struct Family {
  std::string_view model_type;
  void (*describe)(const Json& config, PlanShape& shape);
};
constexpr std::array<Family, 4> kFamilies = {
    {{"deepseek_v3", &deepseek_v3}, {"kimi_k2", &deepseek_v3}, {"mixtral", &mixtral}, {"qwen3_moe", &qwen3_moe}}};

}  // namespace

std::int64_t BlockShape::out() const {
  std::int64_t sum = 0;
  for (const std::int64_t n : rows) sum += n;
  return sum;
}

std::int64_t BlockShape::weights() const { return experts * out() * cols; }

std::int64_t LayerShape::weights() const {
  std::int64_t sum = 0;
  for (const BlockShape& block : blocks) sum += block.weights();
  return sum;
}

std::int64_t PlanShape::dense_values() const {
  std::int64_t sum = vocab * hidden * (tied ? 1 : 2) + hidden;
  for (const LayerShape& layer : layers) sum += layer.dense;
  return sum;
}

std::int64_t PlanShape::values() const {
  std::int64_t sum = dense_values();
  for (const LayerShape& layer : layers) sum += layer.weights();
  return sum;
}

PlanShape shape_of(const ModelSpec& model) {
  PlanShape shape{.architecture = model.architecture,
                  .hidden = model.hidden,
                  .vocab = model.vocab,
                  .source_bytes = static_cast<std::int64_t>(size_of(model.dtype)),
                  .tied = model.tied,
                  .layers = {}};
  for (const LayerSpec& spec : model.layers) {
    LayerShape layer;
    for (const BlockSpec& block : spec.blocks) {
      BlockShape out{block.name, block.cols(), {}};
      for (const LinearSpec& linear : block.linears) {
        out.rows.push_back(linear.rows);
        if (linear.has_bias) layer.dense += linear.rows;
      }
      layer.blocks.push_back(std::move(out));
    }
    layer.heads = model.heads;
    layer.key_dim = layer.value_dim = model.head_dim;
    layer.window = spec.sliding_window;
    layer.dense += 2 * model.hidden;
    shape.layers.push_back(std::move(layer));
  }
  return shape;
}

PlanShape parse_shape(const Json& config) {
  check(config.is_object(), ExitCode::kInput, "config.json is no object (it describes the model) repair the file");
  const auto type = config.find("model_type");
  const std::string name = type != config.end() && type->is_string() ? type->get<std::string>() : "";
  const auto* family = std::ranges::find(kFamilies, name, &Family::model_type);
  check(family != kFamilies.end(), ExitCode::kInput,
        "config.json: model_type \"{}\" can neither be quantized nor planned for here (planned by shape: deepseek_v3, kimi_k2, "
        "mixtral, qwen3_moe)",
        name);
  PlanShape shape;
  const auto names = config.find("architectures");
  if (names != config.end() && names->is_array() && names->size() == 1 && names->front().is_string())
    shape.architecture = names->front().get<std::string>();
  shape.hidden = size(config, "hidden_size");
  shape.vocab = size(config, "vocab_size");
  const auto tied = config.find("tie_word_embeddings");
  shape.tied = tied != config.end() && tied->is_boolean() && tied->get<bool>();
  // Families published in 8 bits: a byte a weight in the model's files.
  const auto stored = config.find("quantization_config");
  if (stored != config.end() && stored->is_object() && stored->value("quant_method", "") == "fp8") shape.source_bytes = 1;
  family->describe(config, shape);
  return shape;
}

}  // namespace mpiquant
