#pragma once

#include <cstdint>
#include <vector>

#include "src/base/model_spec.h"
#include "src/model/config_reader.h"

namespace mpiquant {

// The rotary embedding of a config.json: rope_parameters (Transformers 5) or rope_theta and rope_scaling with type or rope_type
// (older). context: max_position_embeddings. Types other than default, linear, llama3, yarn are input errors.
RopeSpec read_rope(const ConfigReader& config, std::int64_t context);

// Turns per position of each pair of dimensions, and the factor on cos and sin.
struct RopeFrequencies {
  std::vector<float> inverse;  // [head_dim / 2]
  float attention_scaling = 1;
};

// As Transformers' modeling_rope_utils.py computes them, in fp32.
RopeFrequencies rope_frequencies(const RopeSpec& rope, std::int64_t head_dim);

struct RopeTables {
  std::int64_t positions = 0;
  std::vector<float> cos, sin;  // [positions, head_dim / 2]
};

RopeTables rope_tables(const RopeSpec& rope, std::int64_t head_dim, std::int64_t positions);

}  // namespace mpiquant
