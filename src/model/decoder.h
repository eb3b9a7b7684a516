#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "src/base/model_spec.h"
#include "src/model/weights.h"

namespace mpiquant {

// What a calibration unit (T tokens of some samples, one after the other) keeps between the blocks of a layer.
struct UnitState {
  std::vector<std::int64_t> lengths;  // tokens of each sample
  BackendBuffer hidden;               // [T, hidden] residual stream
  BackendBuffer input;                // [T, input_cols] input of the next block; empty between layers
  std::int64_t tokens = 0;            // T
  std::int64_t input_cols = 0;

  Matrix hidden_matrix(std::int64_t width) const { return hidden.matrix(tokens, width); }
  Matrix input_matrix() const { return input.matrix(tokens, input_cols); }
};

// The forward pass of a layer, block by block, so that each product is computed once, on weights that may have been converted
// just before. All calls depend on the unit's shape alone. Safe to use from several streams at once.
class Decoder {
 public:
  // Samples have at most max_length tokens.
  Decoder(const ModelSpec& spec, Backend& backend, std::int64_t max_length);

  // A unit of samples with the given lengths whose hidden states are to be uploaded.
  UnitState make_unit(std::vector<std::int64_t> lengths) const;

  // Enters a layer: hidden -> input of block 0.
  void begin(Stream& stream, const LayerWeights& weights, UnitState& unit) const;

  // Runs block (an index into layer.blocks) on unit.input: leaves the input of the next block or, after the last, the layer's
  // output in unit.hidden and no input.
  void advance(Stream& stream, const LayerSpec& layer, const LayerWeights& weights, std::size_t block, UnitState& unit) const;

  // A whole layer.
  void run_layer(Stream& stream, const LayerSpec& layer, const LayerWeights& weights, UnitState& unit) const;

  // The final norm of hidden states [T, hidden]; normed may be hidden.
  void final_norm(Stream& stream, ConstMatrix hidden, const VectorWeights& norm, Matrix normed) const;

 private:
  BackendBuffer floats(std::int64_t rows, std::int64_t cols) const;
  void multiply(Stream& stream, ConstMatrix x, const LinearSpec& linear, const LinearWeights& weights, Matrix y) const;
  void attend(Stream& stream, const LayerSpec& layer, const std::vector<LinearWeights>& linears, UnitState& unit) const;
  void gate(Stream& stream, const BlockSpec& block, const std::vector<LinearWeights>& linears, UnitState& unit) const;
  void add_to_hidden(Stream& stream, const LinearSpec& linear, const LinearWeights& weights, UnitState& unit) const;
  void normalize(Stream& stream, const VectorWeights& norm, UnitState& unit) const;

  ModelSpec spec_;
  Backend& backend_;
  BackendBuffer cos_, sin_;  // [max_length, head_dim / 2]
  std::int64_t max_length_;
};

}  // namespace mpiquant
