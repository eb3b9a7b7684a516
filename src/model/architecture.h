#pragma once

#include <span>
#include <string>
#include <string_view>

#include "src/base/model_spec.h"
#include "src/model/config_reader.h"

namespace mpiquant {

// A family of models; each has its own file and a row of the table in architecture.cc.
struct Architecture {
  std::string_view name;        // as in config.json's architectures
  std::string_view model_type;  // as in config.json's model_type
  // Fills what the family defines: sizes, rope, names and shapes of all tensors. Input errors name key and value.
  void (*describe)(const ConfigReader& config, ModelSpec& spec);
};

std::span<const Architecture> architectures();

// Names of all supported architectures, for messages.
std::string supported_architectures();

// Input error naming the supported ones if there is no such architecture.
const Architecture& find_architecture(std::string_view name);

// What families of the Llama layout differ in. Defaults are those of the family's configuration class in Transformers.
struct LlamaLayout {
  std::int64_t default_kv_heads = 0;  // when num_key_value_heads is absent; 0: as many as heads
  std::int64_t sliding_window = 0;    // of every layer; 0: none
  bool attention_bias = false;
  bool mlp_bias = false;
};

// Sizes, rope and tensors of a model in the Llama layout (Transformers: modeling_llama.py).
void describe_llama_layout(const ConfigReader& config, const LlamaLayout& layout, ModelSpec& spec);

void describe_llama(const ConfigReader& config, ModelSpec& spec);
void describe_mistral(const ConfigReader& config, ModelSpec& spec);

}  // namespace mpiquant
