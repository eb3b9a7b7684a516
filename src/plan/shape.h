#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/base/model_spec.h"

namespace mpiquant {

// Linears that share an input, as sizes. A routed block exists once for each expert, and a token meets `chosen` of them.
struct BlockShape {
  std::string name;
  std::int64_t cols = 0;           // K
  std::vector<std::int64_t> rows;  // N of each linear
  std::int64_t experts = 1;
  std::int64_t chosen = 1;

  bool routed() const { return experts > 1; }
  std::int64_t out() const;                                                                    // rows of all linears of one copy
  std::int64_t weights() const;                                                                // values of all copies
  double share() const { return static_cast<double>(chosen) / static_cast<double>(experts); }  // of the tokens, at one copy
};

struct LayerShape {
  std::vector<BlockShape> blocks;  // in the order in which data meets them
  std::size_t attends = 0;         // the block whose outputs are queries, keys and values
  std::int64_t heads = 0;
  std::int64_t key_dim = 0;    // of a head, of queries and keys
  std::int64_t value_dim = 0;  // of a head
  std::int64_t window = 0;     // tokens that attention sees; 0: all
  std::int64_t dense = 0;      // values that are never quantized: norms, biases, routers

  std::int64_t weights() const;
};

// A model as planning sees it: sizes alone. Every ModelSpec has one; families that are only planned for have nothing else.
struct PlanShape {
  std::string architecture;
  std::int64_t hidden = 0;
  std::int64_t vocab = 0;
  std::int64_t source_bytes = 2;  // of a weight in the model's files
  bool tied = false;
  std::vector<LayerShape> layers;

  std::int64_t dense_values() const;  // embeddings, head, norms, …
  std::int64_t values() const;        // parameters
};

PlanShape shape_of(const ModelSpec& model);

// Mixtures of experts, from their config.json: deepseek_v3 and kimi_k2, mixtral, qwen3_moe. Input errors name the key.
PlanShape parse_shape(const Json& config);

}  // namespace mpiquant
