#include "src/base/error.h"
#include "src/comm/nccl_comm.h"

// Groups on device memory in a build without CUDA.
namespace mpiquant {

std::unique_ptr<Communicator> make_cuda_staged_comm(std::unique_ptr<Communicator>, int) {
  fail(ExitCode::kUsage, "this build has no CUDA (device memory cannot be moved) use --device cpu");
}

}  // namespace mpiquant
