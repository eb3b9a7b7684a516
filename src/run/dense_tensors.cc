#include "src/run/dense_tensors.h"

#include <algorithm>
#include <vector>

#include "src/run/rotated_source.h"

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

void DenseTensors::write_layer(std::int64_t layer, const LoadedForms& loaded) { write(layer, loaded, nullptr); }

std::optional<ConstMatrix> DenseTensors::in_memory(const SlabTarget& target, const LoadedForms& loaded) const {
  const auto form = loaded.find(outputs_[static_cast<std::size_t>(target.output)].transforms);
  if (form == loaded.end()) return std::nullopt;
  const auto found = form->second.find(plan_.tensor_of(target).source);
  return found == form->second.end() ? std::nullopt : std::optional(found->second);
}

void DenseTensors::write(std::int64_t layer, const LoadedForms& loaded, TokenRows* lookups) {
  std::vector<const SlabPlan*> mine;
  for (const SlabPlan& slab : plan_.slabs)
    if (slab.layer == layer && slab.rank == job_.world.rank() && !slab.with_part) mine.push_back(&slab);
  job_.backend.for_each(static_cast<std::int64_t>(mine.size()), [&](Stream& stream, std::int64_t i) {
    const SlabPlan& slab = *mine[static_cast<std::size_t>(i)];
    if (!in_memory(slab.targets.front(), loaded)) return write_read(slab, lookups);
    for (const SlabTarget& target : slab.targets) {
      const std::optional<ConstMatrix> rows = in_memory(target, loaded);
      expect(rows.has_value(), "{} is in memory for some outputs", slab.tensor);
      files_.write_slab(target, slab.row_begin, slab.row_end, [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
        job_.backend.download(stream, rows->row_range(begin, end), out);
      });
    }
  });
}

void DenseTensors::write_read(const SlabPlan& slab, TokenRows* lookups) {
  const auto read = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
    load_rows(*model_.stored().source, slab.tensor, static_cast<std::int64_t>(out.size()) / (end - begin), begin, end, out);
  };
  const bool embeds = lookups != nullptr && slab.tensor == model_.spec.embedding;
  if (!slab.held) {
    const auto read_and_pass = [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
      read(begin, end, out);
      if (embeds) lookups->pass(begin, end, out);
    };
    for (const SlabTarget& target : slab.targets) files_.write_slab(target, slab.row_begin, slab.row_end, read_and_pass);
    return;
  }
  std::vector<float> stored(static_cast<std::size_t>((slab.row_end - slab.row_begin) * slab.cols)), turned;
  read(slab.row_begin, slab.row_end, stored);
  std::string turned_as;  // the rotated tensor that `turned` holds
  // The rows as a tensor of a form has them.
  const auto rows_of = [&](const std::vector<std::string>& transforms, const std::string& tensor) -> std::span<const float> {
    if (transforms.empty()) return stored;
    if (turned_as != tensor) {
      turned = stored;
      model_.rotated->turn(tensor, slab.row_begin, slab.row_end, turned);
      turned_as = tensor;
    }
    return turned;
  };
  if (embeds) lookups->pass(slab.row_begin, slab.row_end, rows_of(forward_, slab.tensor));
  std::vector<SlabTarget> targets = slab.targets;
  std::ranges::stable_sort(targets, {}, [&](const SlabTarget& target) { return plan_.tensor_of(target).source != slab.tensor; });
  for (const SlabTarget& target : targets) {
    const std::span<const float> rows =
        rows_of(outputs_[static_cast<std::size_t>(target.output)].transforms, plan_.tensor_of(target).source);
    files_.write_slab(target, slab.row_begin, slab.row_end, [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
      std::ranges::copy(rows.subspan(static_cast<std::size_t>((begin - slab.row_begin) * slab.cols),
                                     static_cast<std::size_t>((end - begin) * slab.cols)),
                        out.begin());
    });
  }
}

}  // namespace mpiquant
