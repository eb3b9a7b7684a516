#pragma once

#include <memory>

#include "src/comm/communicator.h"

namespace mpiquant {

// A group of one rank, without MPI.
std::unique_ptr<Communicator> make_local_comm(const CommOptions& options = {});

}  // namespace mpiquant
