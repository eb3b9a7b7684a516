#include "src/base/error.h"
#include "src/comm/nccl_comm.h"

// Groups of a build without NCCL.
namespace mpiquant {

std::unique_ptr<Communicator> make_nccl_comm(std::unique_ptr<Communicator>, int) {
  fail(ExitCode::kUsage,
       "this build has no NCCL (CMake found none; GPUs exchange their sums by it) install NCCL and build again, or use --reduce "
       "mpi");
}

std::string nccl_version() { return "none"; }

}  // namespace mpiquant
