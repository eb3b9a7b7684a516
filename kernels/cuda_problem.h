#pragma once

#include <cstdint>
#include <string>

namespace mpiquant {

enum class CudaTrouble : std::uint8_t { kOldDriver, kNoDevice, kOther };

// What keeps CUDA from starting: "problem (why it matters) what to do". Versions as CUDA counts them (12040: 12.4); a driver of 0
// is none, whatever else CUDA says. words: CUDA's own.
std::string cuda_problem(CudaTrouble trouble, int driver, int runtime, const std::string& words);

}  // namespace mpiquant
