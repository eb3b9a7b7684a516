#pragma once

#include <functional>

#include "src/comm/communicator.h"

namespace mpiquant {

// A test waits a minute at most, then fails.
inline CommOptions test_options() { return {.timeout = std::chrono::seconds(60)}; }

// Runs body on each rank of a job. One test source serves two programs: with threads_ranks.cc the ranks are threads, and body
// runs for 1, 2, 3, 4 and 8 of them; with mpi_main.cc they are the processes of the MPI job. Under MPI an exception ends the job.
void on_ranks(const std::function<void(Communicator&)>& body, const CommOptions& options = test_options());

}  // namespace mpiquant
