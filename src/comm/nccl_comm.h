#pragma once

#include <memory>
#include <string>

#include "src/comm/communicator.h"
#include "src/comm/staged_comm.h"

namespace mpiquant {

// A group that moves device memory by NCCL, one rank a GPU; buffers on the host go through the group that it is made of and takes
// over. device: this rank's GPU, an index among the visible ones. Operations run on a stream of their own; what was written to
// their buffers must have ended before. Collective over the group. Sends and receives of device memory have no tags. Throws an
// environment error when NCCL fails, or a usage error when this build has no NCCL.
std::unique_ptr<Communicator> make_nccl_comm(std::unique_ptr<Communicator> host, int device);

// The same through page-locked host memory and the group itself; ranks may share a GPU.
std::unique_ptr<Communicator> make_cuda_staged_comm(std::unique_ptr<Communicator> host, int device);

// "2.28.9", or "none" in a build without NCCL.
std::string nccl_version();

}  // namespace mpiquant
