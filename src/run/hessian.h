#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"
#include "src/run/job.h"

namespace mpiquant {

// The factor of a block's Hessian over the inputs of all replicas' units, the same on every replica. inputs: x [tokens, cols] of
// this replica's units; total_units, total_tokens: of all replicas. The sum is reduced to the owner, which factors it and
// broadcasts. Collective over the replicas.
Factor shared_factor(Job& job, std::span<const ConstMatrix> inputs, std::int64_t cols, std::int64_t total_units,
                     std::int64_t total_tokens, int owner, const FactorOptions& options);

}  // namespace mpiquant
