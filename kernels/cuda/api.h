#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>

#include <cstddef>
#include <memory>
#include <type_traits>

// Every call of CUDA's libraries goes through a check; every handle has one owner.
namespace mpiquant::cuda {

// Throw an environment error with the library's own words.
void check_cuda(cudaError_t result, const char* call);
void check_cublas(cublasStatus_t result, const char* call);
void check_cusolver(cusolverStatus_t result, const char* call);

struct DestroyStream {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
struct DestroyEvent {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
struct DestroyLt {
  void operator()(cublasLtHandle_t handle) const { cublasLtDestroy(handle); }
};
struct DestroySolver {
  void operator()(cusolverDnHandle_t handle) const { cusolverDnDestroy(handle); }
};
struct FreePinned {
  void operator()(std::byte* data) const { cudaFreeHost(data); }
};
struct FreeDevice {
  void operator()(std::byte* data) const { cudaFree(data); }
};

using StreamOwner = std::unique_ptr<std::remove_pointer_t<cudaStream_t>, DestroyStream>;
using EventOwner = std::unique_ptr<std::remove_pointer_t<cudaEvent_t>, DestroyEvent>;
using LtOwner = std::unique_ptr<std::remove_pointer_t<cublasLtHandle_t>, DestroyLt>;
using SolverOwner = std::unique_ptr<std::remove_pointer_t<cusolverDnHandle_t>, DestroySolver>;
using PinnedOwner = std::unique_ptr<std::byte, FreePinned>;
using DeviceOwner = std::unique_ptr<std::byte, FreeDevice>;

StreamOwner make_stream();
EventOwner make_event();
LtOwner make_lt();
SolverOwner make_solver();
// Page-locked host memory, which the device reads and writes at full speed.
PinnedOwner allocate_pinned(std::size_t bytes);

}  // namespace mpiquant::cuda
