#pragma once

#include <string>

#include "src/comm/communicator.h"
#include "src/run/model_input.h"

namespace mpiquant {

// Copies the files that hold a model's weights to `folder`, which is local to each node, and lets `model` read them there: one
// rank of each node copies, the others wait. A copy appears by one rename, whole and synced, in a folder named after path, sizes
// and times of the originals; one that is there is used as it is, and copies stay. Usage error when space lacks. Collective.
void stage_weights(Communicator& world, ModelInput& model, const std::string& folder);

}  // namespace mpiquant
