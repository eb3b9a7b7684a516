#include "io/gguf_llama.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace mpiquant {
namespace {

struct NamePair {
  std::string_view hf;
  std::string_view gguf;
};
constexpr std::array<NamePair, 3> kGlobal = {
    {{"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}}};
constexpr std::array<NamePair, 9> kLayer = {{{"input_layernorm", "attn_norm"},
                                             {"self_attn.q_proj", "attn_q"},
                                             {"self_attn.k_proj", "attn_k"},
                                             {"self_attn.v_proj", "attn_v"},
                                             {"self_attn.o_proj", "attn_output"},
                                             {"post_attention_layernorm", "ffn_norm"},
                                             {"mlp.gate_proj", "ffn_gate"},
                                             {"mlp.up_proj", "ffn_up"},
                                             {"mlp.down_proj", "ffn_down"}}};
constexpr std::string_view kHfLayer = "model.layers.";
constexpr std::string_view kGgufLayer = "blk.";

// Renames by the tables: `from` and `to` pick the sides, the layer prefixes go with them.
std::optional<std::string> rename(std::string_view name, std::string_view NamePair::*from, std::string_view NamePair::*to,
                                  std::string_view from_layer, std::string_view to_layer) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const std::string_view suffix = name.substr(dot);
  const std::string_view module = name.substr(0, dot);
  if (suffix != ".weight" && suffix != ".bias") return std::nullopt;
  if (!module.starts_with(from_layer)) {
    for (const NamePair& pair : kGlobal)
      if (pair.*from == module) return std::string(pair.*to) + std::string(suffix);
    return std::nullopt;
  }
  const std::string_view rest = module.substr(from_layer.size());
  const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
  if (digits == 0 || digits == rest.size() || rest[digits] != '.') return std::nullopt;
  for (const NamePair& pair : kLayer)
    if (pair.*from == rest.substr(digits + 1))
      return std::string(to_layer) + std::string(rest.substr(0, digits + 1)) + std::string(pair.*to) + std::string(suffix);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> gguf_name(std::string_view hf_name) {
  return rename(hf_name, &NamePair::hf, &NamePair::gguf, kHfLayer, kGgufLayer);
}

std::optional<std::string> hf_name(std::string_view gguf_name) {
  return rename(gguf_name, &NamePair::gguf, &NamePair::hf, kGgufLayer, kHfLayer);
}

std::int64_t permuted_heads(const ModelSpec& model, std::string_view gguf_name) {
  if (gguf_name.find(".attn_q.") != std::string_view::npos) return model.heads;
  if (gguf_name.find(".attn_k.") != std::string_view::npos) return model.kv_heads;
  return 0;
}

std::int64_t unpermuted_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t in_head = row % head_dim;
  return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

std::vector<float> rope_freqs(const ModelSpec& model) {
  const RopeSpec& rope = model.rope;
  const double context = static_cast<double>(rope.original_context);
  std::vector<float> factors;
  for (std::int64_t i = 0; i < model.head_dim / 2; ++i) {
    const double wavelength =
        2 * std::numbers::pi * std::pow(rope.theta, 2.0 * static_cast<double>(i) / static_cast<double>(model.head_dim));
    double factor = 1;
    if (wavelength > context / rope.low_freq_factor) {
      factor = rope.factor;
    } else if (wavelength >= context / rope.high_freq_factor) {
      const double smooth = (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      factor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    factors.push_back(static_cast<float>(factor));
  }
  return factors;
}

}  // namespace mpiquant
