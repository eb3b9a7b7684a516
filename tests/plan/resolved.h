#pragma once

#include <string>
#include <vector>

#include "src/plan/output_choice.h"
#include "tests/plan/sample_model.h"

namespace mpiquant {

// The outputs of a recipe for a model of bfloat16 tensors, and what is said about them.
inline std::vector<OutputSpec> resolve(const Recipe& recipe, const ModelSpec& model = sample_model(),
                                       std::vector<std::string>* notes = nullptr) {
  std::vector<std::string> said;
  auto outputs = resolve_outputs(recipe, model, sample_dtypes(model), said);
  if (notes != nullptr) *notes = said;
  return outputs;
}

}  // namespace mpiquant
