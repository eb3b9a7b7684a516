#include "src/model/decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "src/base/error.h"
#include "src/model/rope.h"

namespace mpiquant {
namespace {

// Pieces of `chunk` tokens, where a product is only passed on (to the residual stream, to the gate), so that it never exists as a
// whole.
template <typename Body>
void for_chunks(std::int64_t tokens, std::int64_t chunk, const Body& body) {
  for (std::int64_t begin = 0; begin < tokens; begin += chunk) body(begin, std::min(tokens, begin + chunk));
}

}  // namespace

Decoder::Decoder(const ModelSpec& spec, Backend& backend, std::int64_t max_length)
    : spec_(spec), backend_(backend), max_length_(max_length) {
  const RopeTables tables = rope_tables(spec.rope, spec.head_dim, max_length);
  cos_ = floats(max_length, spec.head_dim / 2);
  sin_ = floats(max_length, spec.head_dim / 2);
  backend_.for_each(1, [&](Stream& stream, std::int64_t) {
    backend_.upload(stream, tables.cos, cos_.matrix(max_length, spec.head_dim / 2));
    backend_.upload(stream, tables.sin, sin_.matrix(max_length, spec.head_dim / 2));
  });
}

BackendBuffer Decoder::floats(std::int64_t rows, std::int64_t cols) const {
  return backend_.allocate(static_cast<std::size_t>(rows * cols) * sizeof(float));
}

UnitState Decoder::make_unit(std::vector<std::int64_t> lengths) const {
  for (const std::int64_t length : lengths)
    expect(length <= max_length_, "a sample of {} tokens, at most {} planned", length, max_length_);
  const std::int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
  return {std::move(lengths), floats(tokens, spec_.hidden), {}, tokens, 0};
}

void Decoder::begin(Stream& stream, const LayerWeights& weights, UnitState& unit) const {
  normalize(stream, weights.input_norm, unit);
}

void Decoder::advance(Stream& stream, const LayerSpec& layer, const LayerWeights& weights, std::size_t block,
                      UnitState& unit) const {
  const std::vector<LinearWeights>& linears = weights.blocks.at(block);
  expect(unit.input_cols == linears.front().cols, "block {} of layer {} takes {} columns, the unit has {}", block, layer.index,
         linears.front().cols, unit.input_cols);
  const BlockSpec& described = layer.blocks.at(block);
  const LinearSpec& first = described.linears.front();
  switch (first.role) {
    case Role::kQuery: return attend(stream, layer, linears, unit);
    case Role::kOutput:
      add_to_hidden(stream, first, linears.front(), unit);
      return normalize(stream, weights.post_attention_norm, unit);
    case Role::kGate: return gate(stream, described, linears, unit);
    case Role::kDown: return add_to_hidden(stream, first, linears.front(), unit);
    default: expect(false, "block {} of layer {} starts with an unknown role", block, layer.index);
  }
}

void Decoder::run_layer(Stream& stream, const LayerSpec& layer, const LayerWeights& weights, UnitState& unit) const {
  begin(stream, weights, unit);
  for (std::size_t block = 0; block < layer.blocks.size(); ++block) advance(stream, layer, weights, block, unit);
}

void Decoder::final_norm(Stream& stream, ConstMatrix hidden, const VectorWeights& norm, Matrix normed) const {
  backend_.rms_norm(stream, hidden, norm.data(), static_cast<float>(spec_.norm_eps), normed);
}

void Decoder::multiply(Stream& stream, ConstMatrix x, const LinearSpec& linear, const LinearWeights& weights, Matrix y) const {
  if (!linear.rounded_input) return backend_.linear(stream, x, weights.matrix(), weights.bias.data(), y);
  const BackendBuffer buffer = floats(x.rows, x.cols);
  const Matrix rounded = buffer.matrix(x.rows, x.cols);
  backend_.round_activations(stream, x, rounded);
  backend_.linear(stream, rounded, weights.matrix(), weights.bias.data(), y);
}

void Decoder::attend(Stream& stream, const LayerSpec& layer, const std::vector<LinearWeights>& linears, UnitState& unit) const {
  std::vector<BackendBuffer> buffers;
  std::vector<Matrix> qkv;
  const BlockSpec& block = layer.blocks.front();
  for (std::size_t l = 0; l < linears.size(); ++l) {
    buffers.push_back(floats(unit.tokens, linears[l].rows));
    qkv.push_back(buffers.back().matrix(unit.tokens, linears[l].rows));
    multiply(stream, unit.input_matrix(), block.linears[l], linears[l], qkv.back());
  }
  unit.input = {};
  const std::int64_t half = spec_.head_dim / 2;
  for (const std::size_t turned : {0U, 1U})
    backend_.rotary(stream, qkv[turned], spec_.head_dim, unit.lengths, cos_.matrix(max_length_, half),
                    sin_.matrix(max_length_, half));
  unit.input_cols = spec_.heads * spec_.head_dim;
  unit.input = floats(unit.tokens, unit.input_cols);
  const AttentionShape shape{spec_.heads, spec_.kv_heads, spec_.head_dim, layer.sliding_window,
                             static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec_.head_dim)))};
  backend_.attention(stream, qkv[0], qkv[1], qkv[2], shape, unit.lengths, unit.input_matrix());
}

void Decoder::gate(Stream& stream, const BlockSpec& block, const std::vector<LinearWeights>& linears, UnitState& unit) const {
  const LinearWeights &gate = linears[0], &up = linears[1];
  BackendBuffer gated = floats(unit.tokens, gate.rows);
  const Matrix out = gated.matrix(unit.tokens, gate.rows);
  multiply(stream, unit.input_matrix(), block.linears[0], gate, out);
  const BackendBuffer buffer = floats(std::min(unit.tokens, backend_.chunk_tokens()), up.rows);
  for_chunks(unit.tokens, backend_.chunk_tokens(), [&](std::int64_t begin, std::int64_t end) {
    const Matrix part = buffer.matrix(end - begin, up.rows), rows = out.row_range(begin, end);
    multiply(stream, unit.input_matrix().row_range(begin, end), block.linears[1], up, part);
    backend_.silu_gate(stream, rows, part, rows);
  });
  unit.input = std::move(gated);
  unit.input_cols = gate.rows;
}

void Decoder::add_to_hidden(Stream& stream, const LinearSpec& linear, const LinearWeights& weights, UnitState& unit) const {
  const BackendBuffer buffer = floats(std::min(unit.tokens, backend_.chunk_tokens()), linear.rows);
  for_chunks(unit.tokens, backend_.chunk_tokens(), [&](std::int64_t begin, std::int64_t end) {
    const Matrix part = buffer.matrix(end - begin, linear.rows);
    multiply(stream, unit.input_matrix().row_range(begin, end), linear, weights, part);
    backend_.add(stream, part, unit.hidden_matrix(spec_.hidden).row_range(begin, end));
  });
  unit.input = {};
  unit.input_cols = 0;
}

void Decoder::normalize(Stream& stream, const VectorWeights& norm, UnitState& unit) const {
  unit.input_cols = spec_.hidden;
  unit.input = floats(unit.tokens, unit.input_cols);
  backend_.rms_norm(stream, unit.hidden_matrix(spec_.hidden), norm.data(), static_cast<float>(spec_.norm_eps),
                    unit.input_matrix());
}

}  // namespace mpiquant
