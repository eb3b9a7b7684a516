#pragma once

#include <string>

#include "src/comm/communicator.h"

namespace mpiquant {

// What the bits of an output depend on beside its recipe: the backends' identities on all ranks, each once and in order, with " +
// " between them. One is asked for unless `allow_mixed`: else throws (environment error) the ranks that differ. Collective.
std::string kernel_sets(Communicator& world, const std::string& mine, bool allow_mixed);

// Those of several starts of a run.
std::string united_kernel_sets(const std::string& a, const std::string& b);

}  // namespace mpiquant
