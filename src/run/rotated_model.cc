#include "src/run/rotated_model.h"

#include <memory>
#include <utility>

#include "src/run/rotated_source.h"

namespace mpiquant {

ModelInput transformed(ModelInput model, const std::vector<std::string>& transforms) {
  if (transforms.empty()) return model;
  ModelInput rotated;
  rotated.directory = model.directory;
  rotated.name = model.name;
  rotated.spec = rotated_spec(model.spec);
  rotated.original = std::make_unique<ModelInput>(std::move(model));
  if (rotated.original->source != nullptr)
    rotated.source = std::make_unique<RotatedSource>(*rotated.original->source, rotated.original->spec);
  return rotated;
}

void rotate_kept_hessian(const ModelInput& model, std::int64_t layer, std::size_t block, Hessian& hessian) {
  const ModelSpec& spec = model.spec;
  const bool head = layer == static_cast<std::int64_t>(spec.layers.size());
  const LinearSpec& linear = head ? spec.head : spec.layers.at(static_cast<std::size_t>(layer)).blocks.at(block).linears.front();
  const RotatedTensor change = rotated_tensors(spec).at(linear.weight());
  rotate_hessian(hessian, change, folded_norm(*model.source, change, hessian.cols));
}

}  // namespace mpiquant
