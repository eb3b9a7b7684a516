#include "src/run/rotated_model.h"

#include <memory>
#include <set>
#include <utility>

#include "src/run/rotated_source.h"

namespace mpiquant {

ModelInput rotated_model(ModelInput model) {
  ModelInput rotated;
  rotated.directory = model.directory;
  rotated.name = model.name;
  rotated.spec = rotated_spec(model.spec);
  rotated.transforms = {std::string(kRotation)};
  rotated.original = std::make_unique<ModelInput>(std::move(model));
  if (rotated.original->source == nullptr) return rotated;
  auto source = std::make_unique<RotatedSource>(*rotated.original->source, rotated.original->spec);
  rotated.rotated = source.get();
  rotated.source = std::move(source);
  return rotated;
}

ModelInput as_needed(ModelInput model, const Recipe& recipe) {
  return has_transforms(recipe) ? rotated_model(std::move(model)) : std::move(model);
}

void check_folded_norms(const ModelInput& model, bool head) {
  std::set<std::string> norms;
  for (const auto& [tensor, change] : rotated_tensors(model.spec)) {
    if (change.norm.empty() || (tensor == model.spec.head.weight() && !head) || !norms.insert(change.norm).second) continue;
    check_folded_norm(change.norm, folded_norm(*model.source, change, model.spec.hidden));
  }
}

void change_hessian(const ModelInput& model, bool rotate, std::int64_t layer, std::size_t block, Hessian& hessian) {
  const ModelSpec& spec = model.spec;
  const bool head = layer == static_cast<std::int64_t>(spec.layers.size());
  const LinearSpec& linear = head ? spec.head : spec.layers.at(static_cast<std::size_t>(layer)).blocks.at(block).linears.front();
  const RotatedTensor change = rotated_tensors(spec).at(linear.weight());
  const std::vector<float> norm = folded_norm(*model.source, change, hessian.cols);
  if (rotate)
    rotate_hessian(hessian, change, norm);
  else
    unrotate_hessian(hessian, change, norm);
}

}  // namespace mpiquant
