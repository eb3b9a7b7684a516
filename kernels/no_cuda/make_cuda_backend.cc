#include "kernels/cuda_backend.h"
#include "src/base/error.h"

// The factory of a build without CUDA.
namespace mpiquant {
namespace {

constexpr const char* kProblem =
    "this build has no CUDA (CMake found no CUDA toolkit with cuBLAS and cuSOLVER, or was told not to look) configure with the "
    "preset "
    "cuda on a machine that has nvcc, or use --device cpu";

}  // namespace

CudaMachine cuda_machine() { return {{}, kProblem}; }

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions&) { fail(ExitCode::kEnvironment, "{}", kProblem); }

}  // namespace mpiquant
