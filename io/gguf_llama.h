#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/model_spec.h"

namespace mpiquant {

// How GGUF's architecture "llama" holds LlamaForCausalLM and MistralForCausalLM. Source: llama.cpp, conversion/llama.py.

// "model.layers.0.self_attn.q_proj.weight" ↔ "blk.0.attn_q.weight"; nothing for names that the architecture does not have.
std::optional<std::string> gguf_name(std::string_view hf_name);
std::optional<std::string> hf_name(std::string_view gguf_name);

// Heads whose rows llama.cpp rotates in pairs (q and k, weight and bias); 0: rows are stored as they are.
std::int64_t permuted_heads(const ModelSpec& model, std::string_view gguf_name);

// The row of the Hugging Face tensor that is stored as row `row` of a permuted tensor of heads of head_dim rows: Hugging Face
// rotates row k of a head with row k + head_dim / 2, llama.cpp row 2k with row 2k + 1.
std::int64_t unpermuted_row(std::int64_t row, std::int64_t head_dim);

// The tensor rope_freqs.weight [head_dim / 2] of rope type llama3: what the frequencies are divided by.
inline constexpr std::string_view kRopeFreqs = "rope_freqs.weight";
std::vector<float> rope_freqs(const ModelSpec& model);

}  // namespace mpiquant
