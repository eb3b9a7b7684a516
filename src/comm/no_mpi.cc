#include <cstdlib>

#include "src/comm/launch_env.h"
#include "src/comm/local_comm.h"
#include "src/comm/mpi_comm.h"

// The session of a build without MPI.
namespace mpiquant {

struct MpiSession::State {};

MpiSession::MpiSession() { check_world_size(process_env, 1); }
MpiSession::~MpiSession() = default;

std::unique_ptr<Communicator> MpiSession::world(const CommOptions& options) const { return make_local_comm(options); }

void MpiSession::abort(ExitCode code) {
  leave_exit_code(process_env, code);
  std::_Exit(static_cast<int>(code));
}

std::string mpi_version() { return "none"; }

}  // namespace mpiquant
