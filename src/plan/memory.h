#pragma once

#include <vector>

#include "src/plan/plan.h"

namespace mpiquant {

// Costs of each rank of a plan whose work is already shared out (plan.costs is not read). Memory is the peak of resident
// bytes: program and libraries, hidden states and block inputs of the rank's units, one layer of weights, and the largest of
// the Hessian, factor and conversion steps.
std::vector<RankCost> rank_costs(const PlanInput& input, const Plan& plan);

}  // namespace mpiquant
