#pragma once

#include <memory>
#include <string>

#include "src/base/error.h"
#include "src/comm/communicator.h"

namespace mpiquant {

// The MPI library's life in this process. A process that no launcher started (mpirun, srun) does not initialise MPI and is alone.
// Built without MPI, the program is always alone.
class MpiSession {
 public:
  // Initialises MPI (FUNNELED) when launched as part of a job. Throws an environment error if that fails, or if the launcher
  // started several tasks that do not see each other. At most one session may exist in a process's life.
  MpiSession();
  // Finalizes MPI, a collective act; left out while an exception unwinds, because other ranks would wait for ever.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  // Collective: a new group of all ranks of the job. Groups must not outlive the session.
  std::unique_ptr<Communicator> world(const CommOptions& options = {}) const;
  // Ends all ranks of the job with this exit code, or this process if it is alone. For the top level, after printing.
  [[noreturn]] static void abort(ExitCode code);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "Open MPI v4.1.4 …", or "none" in a build without MPI.
std::string mpi_version();

}  // namespace mpiquant
