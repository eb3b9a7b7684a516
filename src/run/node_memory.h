#pragma once

#include "src/plan/plan.h"
#include "src/run/job.h"

namespace mpiquant {

// Throws (usage error), before any work is done, when the ranks of a node together need more memory by the plan than is available
// there: says by how much. On a device whose memory has no room for the states of all units, they stay on the host
// (Job::states_on_host). Collective.
void check_memory(Job& job, const Plan& plan);

// Bytes of memory that this process may still take: the least of what the system has available and the limits of its control
// groups.
double available_memory();

}  // namespace mpiquant
