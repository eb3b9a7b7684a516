#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/plan/recipe.h"
#include "src/quant/hessian.h"
#include "src/run/model_input.h"

namespace mpiquant {

// The rotated model, which computes the same as `model` (RotatedSource). Without weights (a null source) it is the description
// alone.
ModelInput rotated_model(ModelInput model);
// Rotated if some output of the recipe is.
ModelInput as_needed(ModelInput model, const Recipe& recipe);

// Throws (usage error) unless Hessians of `model` can be mapped to those of the rotated one; head: that of the head, too.
void check_folded_norms(const ModelInput& model, bool head);
// Maps a Hessian of `model` to that of the rotated one, or back. layer: the number of layers for the head.
void change_hessian(const ModelInput& model, bool rotate, std::int64_t layer, std::size_t block, Hessian& hessian);

}  // namespace mpiquant
