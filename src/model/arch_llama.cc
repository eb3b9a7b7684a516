#include <algorithm>
#include <limits>
#include <string>

#include "src/base/error.h"
#include "src/model/architecture.h"
#include "src/model/rope.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kMaxLayers = 10000, kMaxWidth = std::numeric_limits<std::int32_t>::max();

LayerSpec llama_layer(std::int64_t index, const ModelSpec& spec, const LlamaLayout& layout) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const std::int64_t queries = spec.heads * spec.head_dim, keys = spec.kv_heads * spec.head_dim;
  const auto attention = [&](const char* name, Role role, std::int64_t rows, std::int64_t cols) {
    return LinearSpec{prefix + "self_attn." + name, role, rows, cols, layout.attention_bias};
  };
  const auto mlp = [&](const char* name, Role role, std::int64_t rows, std::int64_t cols) {
    return LinearSpec{prefix + "mlp." + name, role, rows, cols, layout.mlp_bias};
  };
  LayerSpec layer;
  layer.index = index;
  layer.input_norm = prefix + "input_layernorm.weight";
  layer.post_attention_norm = prefix + "post_attention_layernorm.weight";
  layer.sliding_window = layout.sliding_window;
  layer.blocks = {
      {"qkv",
       {attention("q_proj", Role::kQuery, queries, spec.hidden), attention("k_proj", Role::kKey, keys, spec.hidden),
        attention("v_proj", Role::kValue, keys, spec.hidden)}},
      {"o", {attention("o_proj", Role::kOutput, spec.hidden, queries)}},
      {"gate_up",
       {mlp("gate_proj", Role::kGate, spec.intermediate, spec.hidden),
        mlp("up_proj", Role::kUp, spec.intermediate, spec.hidden)}},
      {"down", {mlp("down_proj", Role::kDown, spec.hidden, spec.intermediate)}},
  };
  return layer;
}

void read_attention_sizes(const ConfigReader& config, const LlamaLayout& layout, ModelSpec& spec) {
  spec.heads = config.size("num_attention_heads");
  spec.kv_heads = config.size_or("num_key_value_heads", layout.default_kv_heads > 0 ? layout.default_kv_heads : spec.heads);
  check(spec.heads % spec.kv_heads == 0, ExitCode::kInput,
        "{}: num_attention_heads = {} is not a multiple of num_key_value_heads = {} (each key head serves equally many queries)",
        config.where(), spec.heads, spec.kv_heads);
  check(config.has("head_dim") || spec.hidden % spec.heads == 0, ExitCode::kInput,
        "{}: hidden_size = {} is not a multiple of num_attention_heads = {} and there is no head_dim", config.where(),
        spec.hidden, spec.heads);
  spec.head_dim = config.size_or("head_dim", spec.hidden / spec.heads);
  check(spec.head_dim % 2 == 0, ExitCode::kInput, "{}: head_dim = {} is odd (rotary embedding turns pairs)", config.where(),
        spec.head_dim);
  check(spec.heads <= kMaxWidth / spec.head_dim, ExitCode::kInput, "{}: {} heads of head_dim = {} are wider than {}",
        config.where(), spec.heads, spec.head_dim, kMaxWidth);
}

}  // namespace

void describe_llama_layout(const ConfigReader& config, const LlamaLayout& layout, ModelSpec& spec) {
  spec.hidden = config.size("hidden_size");
  spec.intermediate = config.size("intermediate_size");
  spec.vocab = config.size("vocab_size");
  spec.context = config.size("max_position_embeddings");
  spec.norm_eps = config.positive("rms_norm_eps");
  if (config.text("hidden_act").value_or("silu") != "silu") config.unsupported("hidden_act", "silu");
  read_attention_sizes(config, layout, spec);
  spec.rope = read_rope(config, spec.context);
  spec.tied = config.flag_or("tie_word_embeddings", false);
  spec.embedding = "model.embed_tokens.weight";
  spec.final_norm = "model.norm.weight";
  spec.head = {"lm_head", Role::kHead, spec.vocab, spec.hidden, false};
  const std::int64_t layers = config.size("num_hidden_layers");
  check(layers <= kMaxLayers, ExitCode::kInput, "{}: num_hidden_layers = {} is above {}", config.where(), layers, kMaxLayers);
  for (std::int64_t index = 0; index < layers; ++index) spec.layers.push_back(llama_layer(index, spec, layout));
}

void describe_llama(const ConfigReader& config, ModelSpec& spec) {
  if (config.has("pretraining_tp") && config.integer("pretraining_tp") != 1) config.unsupported("pretraining_tp", "1");
  if (config.has("sliding_window"))
    config.unsupported("sliding_window", "null (LlamaForCausalLM has no window; MistralForCausalLM has)");
  if (const Json* types = config.find("layer_types")) {
    const bool full = types->is_array() && std::ranges::all_of(*types, [](const Json& type) { return type == "full_attention"; });
    if (!full) config.unsupported("layer_types", "full_attention for every layer");
  }
  LlamaLayout layout;
  layout.attention_bias = config.flag_or("attention_bias", false);
  layout.mlp_bias = config.flag_or("mlp_bias", false);
  describe_llama_layout(config, layout, spec);
}

}  // namespace mpiquant
