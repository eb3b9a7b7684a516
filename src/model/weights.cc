#include "src/model/weights.h"

#include <algorithm>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kChunkFloats = 1 << 20;  // of host memory that a load stages at a time, unless one row is longer

std::size_t float_bytes(std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(float); }

VectorWeights allocate_vector(std::int64_t size, Backend& backend) { return {backend.allocate(float_bytes(size)), size}; }

LinearWeights allocate_linear(const LinearSpec& linear, Backend& backend) {
  LinearWeights weights{backend.allocate(float_bytes(linear.rows * linear.cols)), linear.rows, linear.cols, {}};
  if (linear.has_bias) weights.bias = allocate_vector(linear.rows, backend);
  return weights;
}

void fill_vector(Stream& stream, const TensorSource& source, const std::string& tensor, Backend& backend,
                 VectorWeights& weights) {
  std::vector<float> host(static_cast<std::size_t>(weights.size));
  load_rows(source, tensor, 1, 0, weights.size, host);
  backend.upload(stream, host, weights.buffer.matrix(1, weights.size));
}

}  // namespace

LayerWeights allocate_layer(const LayerSpec& layer, std::int64_t hidden, Backend& backend) {
  LayerWeights weights{allocate_vector(hidden, backend), allocate_vector(hidden, backend), {}};
  for (const BlockSpec& block : layer.blocks) {
    std::vector<LinearWeights>& linears = weights.blocks.emplace_back();
    for (const LinearSpec& linear : block.linears) linears.push_back(allocate_linear(linear, backend));
  }
  return weights;
}

void load_rows(const TensorSource& source, const std::string& tensor, std::int64_t cols, std::int64_t begin, std::int64_t end,
               std::span<float> out) {
  source.read_rows(tensor, begin, end, out);
  const auto bad = first_non_finite(out);
  if (!bad) return;
  const std::int64_t position = static_cast<std::int64_t>(*bad);
  fail(ExitCode::kInput, "{} holds {} at row {}, column {} (nothing can be computed with it); is the download whole?", tensor,
       out[*bad], begin + position / cols, position % cols);
}

std::vector<float> read_vectors(const TensorSource& source, const LayerSpec& layer, std::int64_t hidden) {
  std::vector<float> values;
  const auto read = [&](const std::string& tensor, std::int64_t size) {
    values.resize(values.size() + static_cast<std::size_t>(size));
    load_rows(source, tensor, 1, 0, size, std::span(values).last(static_cast<std::size_t>(size)));
  };
  for_vectors(layer, hidden, read);
  return values;
}

void set_vectors(const LayerSpec& layer, std::span<const float> values, Backend& backend, LayerWeights& weights) {
  backend.for_each(1, [&](Stream& stream, std::int64_t) {
    const auto set = [&](VectorWeights& vector) {
      const auto size = static_cast<std::size_t>(vector.size);
      backend.upload(stream, values.first(size), vector.buffer.matrix(1, vector.size));
      values = values.subspan(size);
    };
    set(weights.input_norm);
    set(weights.post_attention_norm);
    for (std::size_t b = 0; b < layer.blocks.size(); ++b)
      for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l)
        if (layer.blocks[b].linears[l].has_bias) set(weights.blocks[b][l].bias);
  });
}

void load_linear_rows(Stream& stream, const TensorSource& source, const LinearSpec& linear, std::int64_t begin, std::int64_t end,
                      Backend& backend, LinearWeights& weights) {
  const std::int64_t chunk = std::max<std::int64_t>(kChunkFloats / linear.cols, 1);
  std::vector<float> host(static_cast<std::size_t>(std::min(chunk, end - begin) * linear.cols));
  for (std::int64_t row = begin; row < end; row += chunk) {
    const std::int64_t stop = std::min(end, row + chunk);
    const auto rows = std::span(host).first(static_cast<std::size_t>((stop - row) * linear.cols));
    load_rows(source, linear.weight(), linear.cols, row, stop, rows);
    backend.upload(stream, rows, weights.matrix().row_range(row, stop));
  }
}

LayerWeights load_layer(const TensorSource& source, const ModelSpec& spec, std::int64_t layer, Backend& backend) {
  const LayerSpec& described = spec.layers.at(static_cast<std::size_t>(layer));
  LayerWeights weights = allocate_layer(described, spec.hidden, backend);
  set_vectors(described, read_vectors(source, described, spec.hidden), backend, weights);
  std::vector<std::pair<const LinearSpec*, LinearWeights*>> linears;
  for (std::size_t b = 0; b < described.blocks.size(); ++b)
    for (std::size_t l = 0; l < described.blocks[b].linears.size(); ++l)
      linears.emplace_back(&described.blocks[b].linears[l], &weights.blocks[b][l]);
  backend.for_each(static_cast<std::int64_t>(linears.size()), [&](Stream& stream, std::int64_t i) {
    const auto& [linear, target] = linears[static_cast<std::size_t>(i)];
    load_linear_rows(stream, source, *linear, 0, linear->rows, backend, *target);
  });
  return weights;
}

VectorWeights load_vector(const TensorSource& source, const std::string& tensor, std::int64_t size, Backend& backend) {
  VectorWeights weights = allocate_vector(size, backend);
  backend.for_each(1, [&](Stream& stream, std::int64_t) { fill_vector(stream, source, tensor, backend, weights); });
  return weights;
}

void check_tokens(const ModelSpec& spec, std::span<const std::int32_t> ids) {
  for (std::size_t i = 0; i < ids.size(); ++i)
    check(ids[i] >= 0 && ids[i] < spec.vocab, ExitCode::kInput,
          "token {} of the sample has id {}, outside the model's vocabulary of {} (the tokenizer is not this model's)", i, ids[i],
          spec.vocab);
}

void embed(const TensorSource& source, const ModelSpec& spec, std::span<const std::int32_t> ids, std::span<float> out) {
  const std::size_t hidden = static_cast<std::size_t>(spec.hidden);
  expect(out.size() == ids.size() * hidden, "embed: room for {} floats, {} ids of {}", out.size(), ids.size(), hidden);
  check_tokens(spec, ids);
  for (std::size_t i = 0; i < ids.size(); ++i)
    load_rows(source, spec.embedding, spec.hidden, ids[i], ids[i] + 1, out.subspan(i * hidden, hidden));
}

}  // namespace mpiquant
