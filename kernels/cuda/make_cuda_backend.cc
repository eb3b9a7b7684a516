#include <array>

#include "kernels/cuda/api.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda_backend.h"
#include "kernels/cuda_problem.h"
#include "src/base/error.h"

// The factory of a build with CUDA.
namespace mpiquant {
namespace {

constexpr std::array kBuilt = {MPIQUANT_CUDA_BUILT};  // compute capabilities, 90 for 9.0

std::string problem_of(cudaError_t error) {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const CudaTrouble trouble = error == cudaErrorInsufficientDriver ? CudaTrouble::kOldDriver
                              : error == cudaErrorNoDevice         ? CudaTrouble::kNoDevice
                                                                   : CudaTrouble::kOther;
  return cuda_problem(trouble, driver, runtime, cudaGetErrorString(error));
}

}  // namespace

CudaMachine cuda_machine() {
  CudaMachine out;
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (result != cudaSuccess || count == 0) {
    out.problem = problem_of(result == cudaSuccess ? cudaErrorNoDevice : result);
    return out;
  }
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties{};
    std::array<char, 32> pci{};
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) continue;
    if (!runs_on(kBuilt, properties.major, properties.minor))
      return {{}, capability_problem(kBuilt, properties.name, properties.major, properties.minor), true};
    if (cudaDeviceGetPCIBusId(pci.data(), static_cast<int>(pci.size()), index) != cudaSuccess) continue;
    out.devices.push_back({index, properties.name, pci.data(), properties.totalGlobalMem});
  }
  if (out.devices.empty()) out.problem = problem_of(cudaErrorNoDevice);
  return out;
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  const CudaMachine machine = cuda_machine();
  check(!machine.devices.empty(), ExitCode::kEnvironment, "{}", machine.problem);
  check(options.device >= 0 && options.device < static_cast<int>(machine.devices.size()), ExitCode::kUsage,
        "GPU {} of {} visible ones (ranks and GPUs are matched by their number) start fewer ranks on this node, or make more "
        "GPUs visible",
        options.device, machine.devices.size());
  return std::make_unique<cuda::CudaBackend>(options);
}

}  // namespace mpiquant
