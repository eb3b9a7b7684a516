#include "kernels/cuda_problem.h"

#include <fmt/format.h>

namespace mpiquant {
namespace {

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

}  // namespace

std::string cuda_problem(CudaTrouble trouble, int driver, int runtime, const std::string& words) {
  if (driver == 0)
    return "no NVIDIA driver is loaded (this program reaches the GPU through it) install the driver, or use --device cpu";
  if (trouble == CudaTrouble::kOldDriver)
    return fmt::format(
        "the NVIDIA driver is for CUDA {} and this program needs {} (an older driver cannot run it) update the driver, build "
        "with "
        "an older toolkit, or use --device cpu",
        version_text(driver), version_text(runtime));
  if (trouble == CudaTrouble::kNoDevice)
    return "no GPU is visible (CUDA_VISIBLE_DEVICES or the job's limits may hide it) ask for a GPU, or use --device cpu";
  return fmt::format("CUDA cannot start: {} (the GPU is not usable) look at nvidia-smi, or use --device cpu", words);
}

}  // namespace mpiquant
