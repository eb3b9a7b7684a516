#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace mpiquant {

enum class CudaTrouble : std::uint8_t { kOldDriver, kNoDevice, kOther };

// What keeps CUDA from starting: "problem (why it matters) what to do". Versions as CUDA counts them (12040: 12.4); a driver of 0
// is none, whatever else CUDA says. words: CUDA's own.
std::string cuda_problem(CudaTrouble trouble, int driver, int runtime, const std::string& words);

// Whether a GPU of compute capability major.minor runs code that was built for `built` (90: 9.0, ascending): machine code is for
// all minor versions from its own on, and that of the last is there as PTX, too, which later GPUs translate (CUDA programming
// guide, binary and PTX compatibility).
bool runs_on(std::span<const int> built, int major, int minor);
// What to say of one that does not.
std::string capability_problem(std::span<const int> built, const std::string& gpu, int major, int minor);

}  // namespace mpiquant
