#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/quant/hessian.h"
#include "src/run/model_input.h"

namespace mpiquant {

// The model that method and outputs see: `model` itself without transforms, else one that computes the same. Without weights (a
// null source) it is the description alone.
ModelInput transformed(ModelInput model, const std::vector<std::string>& transforms);

// Maps a kept Hessian of `model` to that of the rotated one. layer: the number of layers for the head.
void rotate_kept_hessian(const ModelInput& model, std::int64_t layer, std::size_t block, Hessian& hessian);

}  // namespace mpiquant
