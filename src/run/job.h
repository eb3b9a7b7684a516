#pragma once

#include "kernels/backend.h"
#include "src/comm/collectives.h"
#include "src/comm/grid.h"

namespace mpiquant {

// What a rank works with: its place among the others and where its matrix work happens.
struct Job {
  Communicator& world;
  Grid& grid;
  Backend& backend;
  bool states_on_host = false;  // of calibration: the backend has no room for all of them (check_memory)
};

// Runs local work and lets every rank of the group know how it went: if it failed anywhere, all throw the same error.
template <typename Work>
void collectively(Communicator& comm, Work&& work) {
  agree(comm, attempt(std::forward<Work>(work)));
}

}  // namespace mpiquant
