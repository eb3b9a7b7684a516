#pragma once

#include "launch/arguments.h"
#include "src/comm/communicator.h"
#include "src/run/quantize.h"

namespace mpiquant {

// Options about going on after an interruption and about hangs.
options::options_description run_options();
// Fills in what they say; from here on stop signals are heeded and waits for other ranks have their deadline.
void apply_run_options(const options::variables_map& values, Communicator& world, QuantizeRequest& request);

}  // namespace mpiquant
