#include "src/plan/slabs.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>

#include "src/base/error.h"
#include "src/plan/rank_cost.h"
#include "src/quant/rotation.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kMaxSlabBytes = 4 << 20;
constexpr std::int64_t kMinSlabBytes = 64 << 10;

// Layer by stored tensor, of those that are in memory while their layer is at work.
std::map<std::string, std::int64_t> layers_of_tensors(const ModelSpec& model, bool head) {
  std::map<std::string, std::int64_t> layers;
  for (const LayerSpec& layer : model.layers) {
    layers[layer.input_norm] = layers[layer.post_attention_norm] = layer.index;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) layers[linear.weight()] = layers[linear.bias()] = layer.index;
  }
  if (!head) return layers;
  layers[model.final_norm] = static_cast<std::int64_t>(model.layers.size());
  if (!model.tied) layers[model.head_weight()] = static_cast<std::int64_t>(model.layers.size());
  return layers;
}

// A linear that is converted by rows.
struct ByRows {
  std::int64_t layer;
  std::size_t first_rank;  // of its stage
  std::vector<const PartPlan*> parts;
};

// By weight, of the linears that some output quantizes.
std::map<std::string, ByRows> linears_by_rows(const PlanInput& input, const Plan& plan) {
  const auto conversions = conversions_by_module(input.outputs);
  std::map<std::string, ByRows> out;
  const auto add = [&](std::span<const BlockSpec> blocks, const LayerPlan& layer, std::int64_t index) {
    if (!converts_by_rows(input.recipe, input.model, input.outputs, blocks)) return;
    const std::size_t first_rank = static_cast<std::size_t>(layer.stage) * static_cast<std::size_t>(plan.replicas);
    for (std::size_t b = 0; b < blocks.size(); ++b)
      for (const PartPlan& part : layer.blocks[b].parts) {
        const LinearSpec& linear = blocks[b].linears[static_cast<std::size_t>(part.linear)];
        if (!conversions.contains(linear.module)) continue;
        out.try_emplace(linear.role == Role::kHead ? input.model.head_weight() : linear.weight(), ByRows{index, first_rank, {}})
            .first->second.parts.push_back(&part);
      }
  };
  for (std::size_t l = 0; l < plan.layers.size(); ++l)
    add(input.model.layers[l].blocks, plan.layers[l], static_cast<std::int64_t>(l));
  // The head of a tied model is the embedding, which is read before the layers for its own sake.
  const BlockSpec head{"head", {input.model.head}};
  if (plan.head && !input.model.tied) add(std::span(&head, 1), *plan.head, static_cast<std::int64_t>(plan.layers.size()));
  return out;
}

class SlabPlanner {
 public:
  SlabPlanner(const PlanInput& input, const Plan& plan)
      : input_(input),
        plan_(plan),
        layers_(layers_of_tensors(input.model, plan.head.has_value())),
        by_rows_(linears_by_rows(input, plan)) {
    std::int64_t total = 0;
    for (const auto& output : plan.files)
      for (const FilePlan& file : output) total += file.bytes;
    slab_bytes_ = std::clamp(total / (8 * input.topology.ranks), kMinSlabBytes, kMaxSlabBytes);
  }

  std::vector<SlabPlan> plan(Balancer& writers) {
    std::vector<SlabPlan> out;
    for (const Tensor& tensor : tensors()) {
      if (const auto rows = by_rows_.find(tensor.name); rows != by_rows_.end())
        join_parts(tensor, rows->second, out, writers);
      else
        cut(tensor);
    }
    std::ranges::stable_sort(slabs_, std::greater{}, [](const auto& slab) { return slab.first; });
    const auto replicas = static_cast<std::size_t>(plan_.replicas);
    for (auto& [bytes, slab] : slabs_) {
      if (slab.layer == kNoLayer) {
        slab.rank = writers.take(bytes);
      } else {
        const bool head = slab.layer == static_cast<std::int64_t>(plan_.layers.size());
        const LayerPlan& layer = head ? *plan_.head : plan_.layers[static_cast<std::size_t>(slab.layer)];
        const std::size_t begin = static_cast<std::size_t>(layer.stage) * replicas;
        slab.rank = static_cast<int>(begin) + writers.take(bytes, begin, begin + replicas);
      }
      out.push_back(std::move(slab));
    }
    return out;
  }

 private:
  // A stored tensor, or one that a container makes itself, with all places it goes to.
  struct Tensor {
    std::string name;
    std::int64_t rows, cols;
    std::int64_t row_bytes = 0;  // of all targets
    bool rotated = false;        // of some
    std::vector<SlabTarget> targets;
  };

  std::vector<Tensor> tensors() const {
    std::map<std::string, std::int64_t> cols;
    for (const OutputSpec& output : input_.outputs)
      for (const DenseChoice& dense : output.dense)
        cols[stored_tensor(input_.model, dense.source)] = dense.shape.size() > 1 ? dense.shape[1] : 1;
    std::vector<Tensor> out;
    std::map<std::string, std::size_t> places;  // in out
    for (std::size_t o = 0; o < plan_.files.size(); ++o)
      for (std::size_t f = 0; f < plan_.files[o].size(); ++f)
        for (std::size_t t = 0; t < plan_.files[o][f].tensors.size(); ++t) {
          const TensorPlan& tensor = plan_.files[o][f].tensors[t];
          if (!tensor.piece.empty()) continue;
          const OutputSpec& output = input_.outputs[o];
          const std::int64_t row_bytes = find_container(output.container).dense_row_bytes(output, input_.model, tensor);
          const std::string name = stored_tensor(input_.model, tensor.source);
          const auto [known, is_new] = places.try_emplace(name, out.size());
          if (is_new) {
            const auto stored = cols.find(name);
            out.push_back({name, tensor.bytes / row_bytes, stored == cols.end() ? 1 : stored->second, 0, false, {}});
          }
          Tensor& whole = out[known->second];
          expect(tensor.bytes / row_bytes == whole.rows, "{} has {} rows in one output", name, whole.rows);
          whole.row_bytes += row_bytes;
          whole.rotated = whole.rotated || !output.transforms.empty();
          whole.targets.push_back({static_cast<int>(o), static_cast<int>(f), static_cast<int>(t)});
        }
    return out;
  }

  static void join_parts(const Tensor& tensor, const ByRows& linear, std::vector<SlabPlan>& out, Balancer& writers) {
    for (const PartPlan* part : linear.parts) {
      const std::size_t rank = linear.first_rank + static_cast<std::size_t>(part->replica);
      writers.add(part->rows * tensor.row_bytes, rank);
      out.push_back({tensor.name, tensor.targets, part->row_begin, part->row_begin + part->rows, tensor.cols, linear.layer, false,
                     true, static_cast<int>(rank)});
    }
  }

  void cut(const Tensor& tensor) {
    const auto layer = layers_.find(tensor.name);
    // Rows that are computed together, and heads whose rows a container reorders, are not cut.
    const std::int64_t heads = layer != layers_.end() && tensor.rows % input_.model.head_dim == 0 ? input_.model.head_dim : 1;
    const std::int64_t block = tensor.rotated ? std::lcm(kLargestRotationBlock, heads) : heads;
    const std::int64_t step = std::max<std::int64_t>(1, slab_bytes_ / tensor.row_bytes / block) * block;
    SlabPlan slab{tensor.name, tensor.targets, 0, 0, tensor.cols, layer == layers_.end() ? kNoLayer : layer->second,
                  false,       false,          0};
    slab.held = !tensor.name.empty() && (tensor.rotated || tensor.targets.size() > 1);
    for (; slab.row_end < tensor.rows; slab.row_begin = slab.row_end) {
      slab.row_end = std::min(tensor.rows, slab.row_begin + step);
      slabs_.emplace_back((slab.row_end - slab.row_begin) * tensor.row_bytes, slab);
    }
  }

  const PlanInput& input_;
  const Plan& plan_;
  std::map<std::string, std::int64_t> layers_;
  std::map<std::string, ByRows> by_rows_;
  std::int64_t slab_bytes_;
  std::vector<std::pair<std::int64_t, SlabPlan>> slabs_;
};

}  // namespace

std::vector<SlabPlan> plan_slabs(const PlanInput& input, const Plan& plan, Balancer& writers) {
  return SlabPlanner(input, plan).plan(writers);
}

}  // namespace mpiquant
