#include "kernels/cuda/api.h"

#include "src/base/error.h"

namespace mpiquant::cuda {

void check_cuda(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // an error that does not stick is forgotten, so that the next call reports its own
  check(result != cudaErrorMemoryAllocation, ExitCode::kEnvironment,
        "{}: the GPU is out of memory (another program may hold it) free it, use more ranks, or a GPU with more memory", call);
  fail(ExitCode::kEnvironment, "{} failed: {} (the GPU cannot go on) look at nvidia-smi and the system's log, then resume", call,
       cudaGetErrorString(result));
}

void check_cublas(cublasStatus_t result, const char* call) {
  check(result == CUBLAS_STATUS_SUCCESS, ExitCode::kEnvironment,
        "{} failed: {} (the GPU's matrix products cannot go on) check that the CUDA libraries are of one version", call,
        cublasLtGetStatusString(result));
}

void check_cusolver(cusolverStatus_t result, const char* call) {
  check(result == CUSOLVER_STATUS_SUCCESS, ExitCode::kEnvironment,
        "{} failed: status {} (the Hessian cannot be factored on the GPU) check that the CUDA libraries are of one version", call,
        static_cast<int>(result));
}

StreamOwner make_stream() {
  cudaStream_t stream = nullptr;
  check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  return StreamOwner(stream);
}

EventOwner make_event() {
  cudaEvent_t event = nullptr;
  check_cuda(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  return EventOwner(event);
}

LtOwner make_lt() {
  cublasLtHandle_t handle = nullptr;
  check_cublas(cublasLtCreate(&handle), "cublasLtCreate");
  return LtOwner(handle);
}

SolverOwner make_solver() {
  cusolverDnHandle_t handle = nullptr;
  check_cusolver(cusolverDnCreate(&handle), "cusolverDnCreate");
  SolverOwner owner(handle);
  check_cusolver(cusolverDnSetDeterministicMode(handle, CUSOLVER_DETERMINISTIC_RESULTS), "cusolverDnSetDeterministicMode");
  return owner;
}

PinnedOwner allocate_pinned(std::size_t bytes) {
  void* data = nullptr;
  const cudaError_t result = cudaHostAlloc(&data, bytes, cudaHostAllocDefault);
  check(
      result == cudaSuccess, ExitCode::kEnvironment,
      "no page-locked memory of {} bytes: {} (transfers to the GPU need it) free host memory or raise the limit of locked memory",
      bytes, cudaGetErrorString(result));
  return PinnedOwner(static_cast<std::byte*>(data));
}

}  // namespace mpiquant::cuda
