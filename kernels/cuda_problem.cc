#include "kernels/cuda_problem.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

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

bool runs_on(std::span<const int> built, int major, int minor) {
  const int own = 10 * major + minor;
  const auto fits = [&](int code) { return code / 10 == major && code <= own; };
  return std::ranges::any_of(built, fits) || own >= built.back();
}

std::string capability_problem(std::span<const int> built, const std::string& gpu, int major, int minor) {
  return fmt::format(
      "{} has compute capability {}.{} and this program has code for {} (it would not start) hide it by CUDA_VISIBLE_DEVICES, "
      "build "
      "with its architecture in MPIQUANT_CUDA_ARCHITECTURES (80 or newer), or use --device cpu",
      gpu, major, minor, fmt::join(built, ", "));
}

}  // namespace mpiquant
