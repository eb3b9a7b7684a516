#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "kernels/backend.h"
#include "src/base/model_spec.h"

namespace mpiquant {

// A vector of the model (norm, bias) on a backend, fp32.
struct VectorWeights {
  BackendBuffer buffer;
  std::int64_t size = 0;

  const float* data() const { return reinterpret_cast<const float*>(buffer.data()); }  // null if there is none
};

// A linear on a backend: W [rows, cols] in fp32, and its bias [rows] if it has one.
struct LinearWeights {
  BackendBuffer buffer;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  VectorWeights bias;

  Matrix matrix() const { return buffer.matrix(rows, cols); }
};

struct LayerWeights {
  VectorWeights input_norm;
  VectorWeights post_attention_norm;
  std::vector<std::vector<LinearWeights>> blocks;  // as LayerSpec.blocks and their linears
};

// Room for all of a layer's weights, not yet filled.
LayerWeights allocate_layer(const LayerSpec& layer, std::int64_t hidden, Backend& backend);

// Rows [begin, end) of a [rows, cols] tensor into out, in fp32. A NaN or infinity is an input error that names tensor and place.
// cols: the tensor's; 1 for vectors.
void load_rows(const TensorSource& source, const std::string& tensor, std::int64_t cols, std::int64_t begin, std::int64_t end,
               std::span<float> out);

// visit(tensor, size) of the layer's norms and biases, in this order.
template <typename Visit>
void for_vectors(const LayerSpec& layer, std::int64_t hidden, Visit&& visit) {
  visit(layer.input_norm, hidden);
  visit(layer.post_attention_norm, hidden);
  for (const BlockSpec& block : layer.blocks)
    for (const LinearSpec& linear : block.linears)
      if (linear.has_bias) visit(linear.bias(), linear.rows);
}

// Norms and biases of the layer, one after the other.
std::vector<float> read_vectors(const TensorSource& source, const LayerSpec& layer, std::int64_t hidden);
void set_vectors(const LayerSpec& layer, std::span<const float> values, Backend& backend, LayerWeights& weights);

// Rows [begin, end) of a linear into the same rows of weights.
void load_linear_rows(Stream& stream, const TensorSource& source, const LinearSpec& linear, std::int64_t begin, std::int64_t end,
                      Backend& backend, LinearWeights& weights);

// A whole layer, for one rank without peers.
LayerWeights load_layer(const TensorSource& source, const ModelSpec& spec, std::int64_t layer, Backend& backend);

// A norm's weight [size].
VectorWeights load_vector(const TensorSource& source, const std::string& tensor, std::int64_t size, Backend& backend);

// Throws (input error), naming the first, when ids are outside the vocabulary.
void check_tokens(const ModelSpec& spec, std::span<const std::int32_t> ids);

// Rows of the embedding, one per id, into out [ids, hidden]; reads those rows only. An id outside the vocabulary is an input
// error.
void embed(const TensorSource& source, const ModelSpec& spec, std::span<const std::int32_t> ids, std::span<float> out);

}  // namespace mpiquant
