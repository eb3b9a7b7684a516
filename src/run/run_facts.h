#pragma once

#include "io/container.h"
#include "src/plan/recipe.h"
#include "src/run/model_input.h"

namespace mpiquant {

// What containers need to know of a run before it begins, by output: everything in RunFacts but its recipe and its tensors.
std::vector<RunFacts> run_facts(const Recipe& recipe, const ModelInput& model, const std::vector<OutputSpec>& outputs);

}  // namespace mpiquant
