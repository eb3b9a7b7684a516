#pragma once

#include "kernels/cuda/launch.h"

namespace mpiquant::cuda {

// A block on the device: this thread's part of the phases.
template <typename Private>
struct DeviceBlock {
  std::int64_t x;
  std::int64_t y;
  int thread;
  unsigned char* memory;
  Private own;

  template <typename T>
  MQ_HD T* shared(std::size_t byte_offset = 0) {
    return reinterpret_cast<T*>(memory + byte_offset);
  }
  template <typename Phase>
  MQ_HD void phase(const Phase& run) {
    run(thread, own);
    MQ_BLOCK_BARRIER();
  }
};

template <typename Body>
__global__ void __launch_bounds__(Body::kThreads) run_blocks(const __grid_constant__ Body body) {
  extern __shared__ __align__(128) unsigned char memory[];
  DeviceBlock<typename Body::Private> block{blockIdx.x, blockIdx.y, static_cast<int>(threadIdx.x), memory, {}};
  body(block);
}

template <typename Body>
cudaError_t launch(const Body& body, cudaStream_t stream) {
  constexpr std::size_t kPlain = 48 << 10;  // bytes of shared memory that need no permission
  const block::BlockGrid grid = body.grid();
  if (grid.x <= 0 || grid.y <= 0) return cudaSuccess;
  if (grid.x > 0x7fffffff || grid.y > 0xffff) return cudaErrorInvalidConfiguration;
  const std::size_t shared = body.shared_bytes();
  if (shared > kPlain) {
    // Always the most that the device has: threads that launch the same kernel with other sizes must not lower it.
    int device = 0, most = 0;
    if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
    if (const cudaError_t error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
        error != cudaSuccess)
      return error;
    if (const cudaError_t error = cudaFuncSetAttribute(run_blocks<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize, most);
        error != cudaSuccess)
      return error;
  }
  run_blocks<Body><<<dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y)), Body::kThreads, shared, stream>>>(body);
  return cudaGetLastError();
}

}  // namespace mpiquant::cuda
