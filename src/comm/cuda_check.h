#pragma once

#include <cuda_runtime.h>

namespace mpiquant {

// Throws an environment error with CUDA's own words.
void check_cuda_call(cudaError_t result, const char* call);

bool is_device_memory(const void* data);

}  // namespace mpiquant
