#include <cuda_runtime.h>

#include "src/base/error.h"
#include "src/comm/cuda_check.h"
#include "src/comm/nccl_comm.h"

namespace mpiquant {

bool is_device_memory(const void* data) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, data) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  return attributes.type == cudaMemoryTypeDevice;
}

void check_cuda_call(cudaError_t result, const char* call) {
  check(result == cudaSuccess, ExitCode::kEnvironment,
        "{} failed: {} (ranks cannot exchange device memory) look at nvidia-smi and the system's log, then resume", call,
        cudaGetErrorString(result));
}

std::unique_ptr<Communicator> make_cuda_staged_comm(std::unique_ptr<Communicator> host, int device) {
  check_cuda_call(cudaSetDevice(device), "cudaSetDevice");
  DeviceAccess access;
  access.is_device = is_device_memory;
  access.allocate_host = [](std::size_t bytes) {
    void* data = nullptr;
    check_cuda_call(cudaHostAlloc(&data, bytes, cudaHostAllocDefault), "cudaHostAlloc");
    return std::shared_ptr<std::byte>(static_cast<std::byte*>(data), [](std::byte* memory) { cudaFreeHost(memory); });
  };
  access.to_host = [](std::span<const std::byte> from, std::byte* to) {
    check_cuda_call(cudaMemcpy(to, from.data(), from.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
  };
  access.to_device = [](const std::byte* from, std::span<std::byte> to) {
    check_cuda_call(cudaMemcpy(to.data(), from, to.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  };
  return make_staged_comm(std::move(host), std::move(access));
}

}  // namespace mpiquant
