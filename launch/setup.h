#pragma once

#include <memory>

#include "kernels/backend.h"
#include "launch/arguments.h"
#include "src/comm/communicator.h"
#include "src/comm/grid.h"

namespace mpiquant {

// Options every command has: --threads, --quiet, --verbose, --help.
OptionGroup common_group();
// Starts logging as they say.
void apply_common(const options::variables_map& values, int rank);

// Threads of this rank: --threads, else OMP_NUM_THREADS, else its share of the cores it may run on. Collective.
int thread_count(const options::variables_map& values, Communicator& world);

// Prints the page of a command on rank 0 when --help is given; true if so.
bool help_wanted(const options::variables_map& values, const std::string& command, const CommandPage& page, int rank);

}  // namespace mpiquant
