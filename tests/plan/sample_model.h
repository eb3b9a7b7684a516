#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/container.h"
#include "src/base/model_spec.h"

namespace mpiquant {

// A small Llama-like model as data: `layers` layers of width 256, MLP of 768.
inline ModelSpec sample_model(std::int64_t layers = 4, bool tied = false) {
  ModelSpec model;
  model.architecture = "LlamaForCausalLM";
  model.model_type = "llama";
  model.hidden = 256;
  model.intermediate = 768;
  model.vocab = 2048;
  model.heads = 8;
  model.kv_heads = 4;
  model.head_dim = 32;
  model.context = 512;
  model.norm_eps = 1e-6;
  model.rope.theta = 10000;
  model.tied = tied;
  model.embedding = "model.embed_tokens.weight";
  model.final_norm = "model.norm.weight";
  model.head = {"lm_head", Role::kHead, 2048, 256, false};
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string p = "model.layers." + std::to_string(i) + ".";
    LayerSpec layer{i, p + "input_layernorm.weight", p + "post_attention_layernorm.weight", {}, 0};
    layer.blocks = {
        {"qkv",
         {{p + "self_attn.q_proj", Role::kQuery, 256, 256, false},
          {p + "self_attn.k_proj", Role::kKey, 128, 256, false},
          {p + "self_attn.v_proj", Role::kValue, 128, 256, false}}},
        {"o", {{p + "self_attn.o_proj", Role::kOutput, 256, 256, false}}},
        {"gate_up", {{p + "mlp.gate_proj", Role::kGate, 768, 256, false}, {p + "mlp.up_proj", Role::kUp, 768, 256, false}}},
        {"down", {{p + "mlp.down_proj", Role::kDown, 256, 768, false}}}};
    model.layers.push_back(std::move(layer));
  }
  return model;
}

// bfloat16 for every tensor.
inline std::map<std::string, DType> sample_dtypes(const ModelSpec& model) {
  std::map<std::string, DType> dtypes{
      {model.embedding, DType::kBF16}, {model.final_norm, DType::kBF16}, {model.head.weight(), DType::kBF16}};
  for (const LayerSpec& layer : model.layers) {
    dtypes[layer.input_norm] = dtypes[layer.post_attention_norm] = DType::kBF16;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) dtypes[linear.weight()] = DType::kBF16;
  }
  return dtypes;
}

// The facts of a run with so many outputs that layouts need.
inline std::vector<RunFacts> sample_facts(const ModelSpec& model, std::size_t outputs) {
  RunFacts facts;
  facts.model = &model;
  return std::vector<RunFacts>(outputs, facts);
}

}  // namespace mpiquant
