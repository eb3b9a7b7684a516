#pragma once

#include <functional>

#include "src/comm/communicator.h"

namespace mpiquant {

// Runs body once on each of `ranks` threads of this process, each with its rank of one group, and waits for all. If a body
// throws, the waits of the others end with an environment error, and the first exception is rethrown here.
void run_on_threads(int ranks, const std::function<void(Communicator&)>& body, const CommOptions& options = {});

}  // namespace mpiquant
