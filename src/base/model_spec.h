#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/dtype.h"

namespace mpiquant {

// What a linear does in its layer; containers name and permute by it.
enum class Role : std::uint8_t { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown, kHead };

// One weight matrix W [rows out, cols in] of the model, under its Hugging Face name.
struct LinearSpec {
  std::string module;  // "model.layers.0.self_attn.q_proj"; the weight is module + ".weight"
  Role role;
  std::int64_t rows;
  std::int64_t cols;
  bool has_bias;
  bool rounded_input = false;  // evaluation only: what W multiplies is rounded as codec::round_activations does

  std::string weight() const { return module + ".weight"; }
  std::string bias() const { return module + ".bias"; }
};

// Linears that share one input and so one Hessian; also the step of true-sequential quantization.
struct BlockSpec {
  std::string name;  // "qkv", "o", "gate_up", "down"
  std::vector<LinearSpec> linears;

  std::int64_t cols() const { return linears.front().cols; }
};

struct LayerSpec {
  std::int64_t index;
  std::string input_norm;           // full tensor name of the norm before attention
  std::string post_attention_norm;  // before the MLP
  std::vector<BlockSpec> blocks;    // in the order in which data meets them
  std::int64_t sliding_window = 0;  // tokens that attention sees; 0: all
};

enum class RopeType : std::uint8_t { kDefault, kLinear, kLlama3, kYarn };

// Rotary embedding as in config.json's rope_parameters (older: rope_theta and rope_scaling).
struct RopeSpec {
  RopeType type = RopeType::kDefault;
  double theta = 0;
  double factor = 1;
  std::int64_t original_context = 0;             // llama3, yarn
  double low_freq_factor = 1;                    // llama3
  double high_freq_factor = 4;                   // llama3
  double beta_fast = 32;                         // yarn
  double beta_slow = 1;                          // yarn
  std::optional<double> attention_factor;        // yarn: overrides the computed one
  std::optional<double> mscale, mscale_all_dim;  // yarn
  bool truncate = true;                          // yarn: bounds of the ramp are rounded to whole dimensions
};

// A model as pure data: which tensors exist, their shapes and roles, and the constants of its forward pass.
struct ModelSpec {
  std::string architecture;  // "LlamaForCausalLM"
  std::string model_type;    // "llama"
  std::int64_t hidden = 0;
  std::int64_t intermediate = 0;
  std::int64_t vocab = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t context = 0;  // max_position_embeddings
  double norm_eps = 0;
  RopeSpec rope;
  DType dtype = DType::kBF16;  // of the source weights, as config.json states it
  bool tied = false;           // the head uses the embedding matrix
  std::string embedding;       // "model.embed_tokens.weight"
  std::string final_norm;      // "model.norm.weight"
  LinearSpec head;             // "lm_head"; its weight is the embedding when tied
  std::vector<LayerSpec> layers;
  std::optional<std::int64_t> bos, eos;
  std::vector<std::int64_t> eos_all;

  std::string head_weight() const { return tied ? embedding : head.weight(); }
};

}  // namespace mpiquant
