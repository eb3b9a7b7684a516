#include "src/run/dense_tensors.h"

#include <algorithm>
#include <vector>

namespace mpiquant {

LoadedTensors loaded_tensors(const LayerSpec& layer, const LayerWeights& weights) {
  LoadedTensors out;
  const auto add = [&](const std::string& name, const VectorWeights& vector) {
    out[name] = vector.buffer.matrix(vector.size, 1);
  };
  add(layer.input_norm, weights.input_norm);
  add(layer.post_attention_norm, weights.post_attention_norm);
  for (std::size_t b = 0; b < layer.blocks.size(); ++b)
    for (std::size_t l = 0; l < layer.blocks[b].linears.size(); ++l) {
      const LinearSpec& linear = layer.blocks[b].linears[l];
      out[linear.weight()] = weights.blocks[b][l].matrix();
      if (linear.has_bias) add(linear.bias(), weights.blocks[b][l].bias);
    }
  return out;
}

void DenseTensors::write_first(TokenRows* lookups) {
  collectively(job_.world, [&] {
    write(kNoLayer, {}, lookups);
    // A stage's commits sync what its own ranks wrote; sums read all.
    if (plan_.stages > 1) files_.sync();
  });
  if (lookups != nullptr) lookups->share(job_.world);
}

void DenseTensors::write_layer(std::int64_t layer, const LoadedTensors& loaded) { write(layer, loaded, nullptr); }

void DenseTensors::write(std::int64_t layer, const LoadedTensors& loaded, TokenRows* lookups) {
  std::vector<const SlabPlan*> mine;
  for (const SlabPlan& slab : plan_.slabs)
    if (slab.layer == layer && slab.rank == job_.world.rank() && !slab.with_part) mine.push_back(&slab);
  job_.backend.for_each(static_cast<std::int64_t>(mine.size()), [&](Stream& stream, std::int64_t i) {
    const SlabPlan& slab = *mine[static_cast<std::size_t>(i)];
    const std::string& tensor = plan_.tensor_of(slab.targets.front()).source;
    const auto found = loaded.find(tensor);
    if (found == loaded.end()) return write_read(slab, tensor, lookups);
    const auto from_memory = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
      job_.backend.download(stream, found->second.row_range(begin, end), out);
    };
    for (const SlabTarget& target : slab.targets) files_.write_slab(target, slab.row_begin, slab.row_end, from_memory);
  });
}

void DenseTensors::write_read(const SlabPlan& slab, const std::string& tensor, TokenRows* lookups) {
  const auto read = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
    load_rows(source_, tensor, static_cast<std::int64_t>(out.size()) / (end - begin), begin, end, out);
    if (lookups != nullptr && tensor == model_.embedding) lookups->pass(begin, end, out);
  };
  const auto write_all = [&](const RowReader& reader) {
    for (const SlabTarget& target : slab.targets) files_.write_slab(target, slab.row_begin, slab.row_end, reader);
  };
  if (!slab.held) return write_all(read);
  std::vector<float> rows(static_cast<std::size_t>((slab.row_end - slab.row_begin) * slab.cols));
  read(slab.row_begin, slab.row_end, rows);
  write_all([&](std::int64_t begin, std::int64_t end, std::span<float> out) {
    std::ranges::copy(std::span(rows).subspan(static_cast<std::size_t>((begin - slab.row_begin) * slab.cols),
                                              static_cast<std::size_t>((end - begin) * slab.cols)),
                      out.begin());
  });
}

}  // namespace mpiquant
