#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "io/tensor_source.h"
#include "kernels/backend.h"
#include "src/model/decoder.h"
#include "src/model/weights.h"

namespace mpiquant {

struct ForwardRun {
  std::int64_t tokens = 0;
  std::vector<std::vector<float>> hidden;  // output of each layer [tokens, hidden]
  std::vector<float> logits;               // [tokens, vocab]
};

// Runs samples (of the given lengths, one after the other in ids) through a whole model as one unit.
inline ForwardRun run_forward(const TensorSource& source, const ModelSpec& spec, std::span<const std::int32_t> ids,
                              const std::vector<std::int64_t>& lengths, Backend& backend) {
  const Decoder decoder(spec, backend, *std::max_element(lengths.begin(), lengths.end()));
  UnitState unit = decoder.make_unit(lengths);
  const Matrix hidden = unit.hidden_matrix(spec.hidden);
  ForwardRun run{unit.tokens, {}, {}};
  std::vector<float> rows(static_cast<std::size_t>(unit.tokens * spec.hidden));
  embed(source, spec, ids, rows);
  backend.for_each(1, [&](Stream& stream, std::int64_t) { backend.upload(stream, rows, hidden); });
  for (const LayerSpec& layer : spec.layers) {
    const LayerWeights weights = load_layer(source, spec, layer.index, backend);
    backend.for_each(1, [&](Stream& stream, std::int64_t) {
      decoder.run_layer(stream, layer, weights, unit);
      backend.download(stream, hidden, rows);
    });
    run.hidden.push_back(rows);
  }
  const VectorWeights norm = load_vector(source, spec.final_norm, spec.hidden, backend);
  LinearWeights head{
      backend.allocate(static_cast<std::size_t>(spec.vocab * spec.hidden) * sizeof(float)), spec.vocab, spec.hidden, {}};
  LinearSpec stored = spec.head;
  stored.module = spec.head_weight().substr(0, spec.head_weight().size() - std::string(".weight").size());
  const BackendBuffer logits = backend.allocate(static_cast<std::size_t>(unit.tokens * spec.vocab) * sizeof(float));
  run.logits.resize(static_cast<std::size_t>(unit.tokens * spec.vocab));
  backend.for_each(1, [&](Stream& stream, std::int64_t) {
    load_linear_rows(stream, source, stored, 0, spec.vocab, backend, head);
    decoder.final_norm(stream, hidden, norm, hidden);
    backend.linear(stream, hidden, head.matrix(), nullptr, logits.matrix(unit.tokens, spec.vocab));
    backend.download(stream, logits.matrix(unit.tokens, spec.vocab), run.logits);
  });
  return run;
}

}  // namespace mpiquant
