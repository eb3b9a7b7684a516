#pragma once

#include <string>

#include "src/plan/machine.h"
#include "src/plan/summary.h"

namespace mpiquant {

// The head of a batch job for a plan: nodes, tasks, GPUs, cores, memory and time with a margin, and the directives that
// slurm/quantize.sbatch relies on. `command`: what follows, the arguments of that script.
std::string sbatch_script(const PlanSummary& summary, const Machine& machine, const std::string& command);

}  // namespace mpiquant
