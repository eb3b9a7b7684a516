#pragma once

#include <vector>

#include "src/plan/balancer.h"
#include "src/plan/plan.h"

namespace mpiquant {

// Dense tensors of all outputs as slabs of whole rows, the largest first, each to the rank that has least to write: of all ranks,
// or of those of the layer's stage. plan: with its files and layers.
std::vector<SlabPlan> plan_slabs(const PlanInput& input, const Plan& plan, Balancer& writers);

}  // namespace mpiquant
