#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"
#include "src/quant/hessian.h"
#include "src/run/job.h"
#include "src/run/report.h"

namespace mpiquant {

// The canonical Hessian of a block over the inputs of all replicas' units, at its owner; empty elsewhere. inputs: x [tokens,
// cols] of this replica's units; total_units, total_tokens: of all replicas. Collective over the replicas.
Hessian shared_hessian(Job& job, std::span<const ConstMatrix> inputs, std::int64_t cols, std::int64_t total_units,
                       std::int64_t total_tokens, int owner, RankReport& report);

// The factor of a Hessian that the owner has, the same on every replica. Collective over the replicas.
Factor shared_factor(Job& job, Hessian hessian, std::int64_t cols, int owner, const FactorOptions& options, RankReport& report);

}  // namespace mpiquant
