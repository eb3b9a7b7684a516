#include "src/run/layer_loader.h"

namespace mpiquant {
namespace {

void fill_shared(Job& job, const TensorSource& source, const std::string& tensor, LinearWeights& weights) {
  Communicator& group = *job.grid.group;
  const std::int64_t ranks = group.size();
  const auto first_row = [&](std::int64_t replica) { return weights.rows * replica / ranks; };
  std::vector<float> host(static_cast<std::size_t>(weights.rows * weights.cols));
  std::vector<std::size_t> counts;
  for (std::int64_t r = 0; r < ranks; ++r)
    counts.push_back(static_cast<std::size_t>((first_row(r + 1) - first_row(r)) * weights.cols) * sizeof(float));
  const std::int64_t begin = first_row(group.rank());
  const std::int64_t end = first_row(group.rank() + 1);
  const std::span<float> mine = std::span(host).subspan(static_cast<std::size_t>(begin * weights.cols),
                                                        static_cast<std::size_t>((end - begin) * weights.cols));
  collectively(group, [&] { load_rows(source, tensor, weights.cols, begin, end, mine); });
  group.all_gather_v(bytes_of(std::span<const float>(mine)), counts, bytes_of(host));
  job.backend.for_each(1, [&](Stream& stream, std::int64_t) { job.backend.upload(stream, host, weights.matrix()); });
}

}  // namespace

LayerWeights load_shared_layer(Job& job, const TensorSource& source, const ModelSpec& model, const LayerSpec& layer) {
  LayerWeights weights;
  collectively(*job.grid.group, [&] {
    weights = allocate_layer(layer, model.hidden, job.backend);
    load_vectors(source, layer, job.backend, weights);
  });
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l)
      fill_shared(job, source, layer.blocks[b].linears[l].weight(), weights.blocks[b][l]);
  return weights;
}

LinearWeights load_shared_linear(Job& job, const TensorSource& source, const LinearSpec& linear, const std::string& tensor) {
  LinearWeights weights;
  weights.rows = linear.rows;
  weights.cols = linear.cols;
  collectively(*job.grid.group, [&] {
    weights.buffer = job.backend.allocate(static_cast<std::size_t>(linear.rows * linear.cols) * sizeof(float));
  });
  fill_shared(job, source, tensor, weights);
  return weights;
}

}  // namespace mpiquant
