#pragma once

#include <string>

#include "src/plan/machine.h"
#include "src/run/job.h"

namespace mpiquant {

// Rates of this machine, measured in some seconds through the backend, the communicator and files below `scratch` (a directory;
// what is made there is removed). All ranks and threads work at once, as they do in a run. Collective; the result is rank 0's
// view of the slowest rank. bf16: a backend with products in bf16, or null.
Machine measure_machine(Job& job, Backend* bf16, int threads, const std::string& scratch);

}  // namespace mpiquant
