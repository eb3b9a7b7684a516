#pragma once

#include <memory>

#include "kernels/backend.h"
#include "launch/arguments.h"
#include "src/comm/communicator.h"
#include "src/comm/grid.h"

namespace mpiquant {

// --device, --reduce and, where Hessians are factored, --factor-type.
options::options_description device_options(bool factors);

// The backend that they name, on every rank. GPUs are shared out by the ranks' numbers on their nodes, printed once, and this
// process is bound to the processors beside its own. Throws (usage or environment error) what is in the way. Collective.
std::unique_ptr<Backend> make_backend(const options::variables_map& values, Communicator& world, int threads,
                                      ComputeType compute);

// Lets the replicas of a stage exchange device memory, by NCCL or through the host's memory, if the backend has such. Collective.
void connect_devices(const options::variables_map& values, const Backend& backend, Grid& grid);

}  // namespace mpiquant
