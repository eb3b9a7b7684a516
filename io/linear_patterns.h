#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/container.h"

namespace mpiquant {

// Linears of the layers (and of the head, if it has a codec) that a reader's configuration names together.
struct LinearPattern {
  std::string regex;               // whole module names, unanchored: "model\.layers\.\d+\.mlp\.down_proj"
  std::optional<CodecSpec> codec;  // nothing: dense
  std::vector<std::string> modules;
};

// One pattern for each suffix ("mlp.down_proj") whose codec is the same in every layer; else one for each linear.
std::vector<LinearPattern> linear_patterns(const OutputSpec& output, const ModelSpec& model);

// The codec of most linears; of two equally common ones the first. The output has one.
CodecSpec common_codec(const OutputSpec& output);

// "model.layers.0.mlp.down_proj" → "mlp.down_proj", for linears of a layer.
std::string suffix_of(const LayerSpec& layer, const std::string& module);

// Whether the linear of this module has a codec.
bool is_quantized(const OutputSpec& output, const std::string& module);

}  // namespace mpiquant
