#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "src/plan/shape.h"

namespace mpiquant {

// What a layer asks of the stage that has it.
struct LayerLoad {
  double work = 0;   // flop
  double bytes = 0;  // of its weights
};

// tokens: of all calibration, in samples of `length`; 0: none. converts(b): block b is quantized, so that it needs a Hessian.
LayerLoad layer_load(const LayerShape& layer, std::int64_t tokens, std::int64_t length,
                     const std::function<bool(std::size_t block)>& converts);
// The same of a head that is quantized.
LayerLoad head_load(const PlanShape& shape, std::int64_t tokens);

// First layer of each stage, and behind them the number of layers. Stages are contiguous and hold at least one layer each; their
// shares of all work and of all bytes, added, have the least sum of squares. Of equals, earlier stages hold more.
// head: on the last stage.
std::vector<std::size_t> stage_bounds(std::span<const LayerLoad> layers, const LayerLoad& head, int stages);

}  // namespace mpiquant
