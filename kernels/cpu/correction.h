#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "src/base/threads.h"

namespace mpiquant::cpu {

// out [cols, cols] = (alpha * sum / 2^exponent * (H + damping)^-1)ᵀ for the factor's H; sum [cols, cols] of cross_add.
void correction(ThreadPool& pool, const Factor& factor, std::span<const std::int64_t> sum, int exponent, double alpha,
                Matrix out);

}  // namespace mpiquant::cpu
