#include "src/run/running_sums.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/comm/grid.h"

namespace mpiquant {

RunningSums::RunningSums(const Plan& plan, const ModelSpec& model, const std::vector<std::filesystem::path>& folders, int rank) {
  const auto layers = static_cast<std::int64_t>(model.layers.size());
  for (std::int64_t layer = 0; layer < layers; ++layer)
    for (const BlockSpec& block : model.layers[static_cast<std::size_t>(layer)].blocks)
      for (const LinearSpec& linear : block.linears) layers_[linear.module] = layer;
  layers_[model.head.module] = layers;
  for (const SlabPlan& slab : plan.slabs)
    if (slab.layer != kNoLayer)
      for (const SlabTarget& target : slab.targets) layers_[plan.tensor_of(target).source] = slab.layer;

  const GridShape shape{plan.stages, plan.replicas};
  std::vector<std::int64_t> load(static_cast<std::size_t>(plan.stages) * static_cast<std::size_t>(plan.replicas));
  for (std::size_t o = 0; o < plan.files.size(); ++o)
    for (const FilePlan& file : plan.files[o]) {
      const auto of_layer =
          std::ranges::find_if(file.tensors, [&](const TensorPlan& tensor) { return layers_.contains(tensor.source); });
      const std::int64_t first = of_layer == file.tensors.end() ? 0 : layers_.at(of_layer->source);
      const int stage = first == layers ? plan.stages - 1 : plan.layers[static_cast<std::size_t>(first)].stage;
      const auto begin = load.begin() + shape.rank_of(stage, 0);
      const auto least = std::min_element(begin, begin + plan.replicas);
      *least += file.bytes;
      if (least - load.begin() == rank)
        mine_.push_back({o, &file, FileSum(fmt::format("{}/{}", o, file.path), folders[o] / file.path, file.bytes)});
    }
}

void RunningSums::resume(const Checkpoint::State& state) {
  durable_ = state.committed();
  for (Part& part : mine_)
    for (const auto& [layer, states] : state.sums)
      if (const auto found = states.find(part.sum.name()); found != states.end()) part.sum.restore(found->second);
}

std::int64_t RunningSums::front(const FilePlan& file) const {
  for (const TensorPlan& tensor : file.tensors)
    if (const auto layer = layers_.find(tensor.source); layer != layers_.end() && !durable_.contains(layer->second))
      return tensor.offset;
  return file.bytes;
}

void RunningSums::advance() {
  if (durable_.empty()) return;  // neither are the dense tensors
  for (Part& part : mine_) bytes_at_front_ += part.sum.advance(front(*part.file));
}

std::map<std::string, std::string> RunningSums::save() const {
  std::map<std::string, std::string> states;
  for (const Part& part : mine_) states[part.sum.name()] = part.sum.save();
  return states;
}

FileSums RunningSums::finish(std::size_t output) {
  FileSums sums;
  for (Part& part : mine_) {
    if (part.output != output) continue;
    bytes_at_end_ += part.file->bytes - part.sum.summed();
    sums[part.file->path] = part.sum.finish();
  }
  return sums;
}

}  // namespace mpiquant
