// Cholesky factor and triangular inverse of cuSOLVER by LAPACK.
#include <cblas.h>
#include <cusolverDn.h>

#include <cstddef>
#include <cstring>

#include "tests/cuda_host/streams.h"

// LAPACK inside OpenBLAS; the last arguments are the lengths of the strings.
extern "C" {
void spotrf_(const char* fill, const blasint* n, float* a, const blasint* lda, blasint* info, std::size_t);
void dpotrf_(const char* fill, const blasint* n, double* a, const blasint* lda, blasint* info, std::size_t);
void strtri_(const char* fill, const char* unit, const blasint* n, float* a, const blasint* lda, blasint* info, std::size_t,
             std::size_t);
void dtrtri_(const char* fill, const char* unit, const blasint* n, double* a, const blasint* lda, blasint* info, std::size_t,
             std::size_t);
}

struct cusolverDnContext {
  cudaStream_t stream = nullptr;
};
struct cusolverDnParams {};

namespace {

constexpr std::size_t kWorkspace = 256;  // bytes that are asked for, and overwritten when used

// work(info) on the handle's stream, after using all of the workspace.
template <typename Work>
cusolverStatus_t queue(cusolverDnHandle_t handle, void* workspace, std::size_t bytes, int* info, const Work& work) {
  if (bytes < kWorkspace || handle->stream == nullptr) return CUSOLVER_STATUS_INVALID_VALUE;
  mpiquant::cuda_host::Streams::all().enqueue(handle->stream, [=] {
    std::memset(workspace, 0x55, bytes);
    *info = work();
    return true;
  });
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t ask_for(std::size_t* on_device, std::size_t* on_host) {
  *on_device = kWorkspace;
  *on_host = 0;
  return CUSOLVER_STATUS_SUCCESS;
}

const char* triangle(cublasFillMode_t fill) { return fill == CUBLAS_FILL_MODE_UPPER ? "U" : "L"; }

}  // namespace

cusolverStatus_t cusolverGetVersion(int* version) {
  *version = 0;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  *handle = new cusolverDnContext;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
  delete handle;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnSetDeterministicMode(cusolverDnHandle_t, cusolverDeterministicMode_t) {
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t* params) {
  *params = new cusolverDnParams;
  return CUSOLVER_STATUS_SUCCESS;
}
cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
  delete params;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXpotrf_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cublasFillMode_t, int64_t, cudaDataType,
                                             const void*, int64_t, cudaDataType, size_t* on_device, size_t* on_host) {
  return ask_for(on_device, on_host);
}
cusolverStatus_t cusolverDnXpotrf(cusolverDnHandle_t handle, cusolverDnParams_t, cublasFillMode_t fill, int64_t n,
                                  cudaDataType type, void* a, int64_t lda, cudaDataType, void* workspace, size_t bytes, void*,
                                  size_t, int* info) {
  return queue(handle, workspace, bytes, info, [=, size = static_cast<blasint>(n), ld = static_cast<blasint>(lda)] {
    blasint out = 0;
    if (type == CUDA_R_64F)
      dpotrf_(triangle(fill), &size, static_cast<double*>(a), &ld, &out, 1);
    else
      spotrf_(triangle(fill), &size, static_cast<float*>(a), &ld, &out, 1);
    return static_cast<int>(out);
  });
}

cusolverStatus_t cusolverDnXtrtri_bufferSize(cusolverDnHandle_t, cublasFillMode_t, cublasDiagType_t, int64_t, cudaDataType, void*,
                                             int64_t, size_t* on_device, size_t* on_host) {
  return ask_for(on_device, on_host);
}
cusolverStatus_t cusolverDnXtrtri(cusolverDnHandle_t handle, cublasFillMode_t fill, cublasDiagType_t diagonal, int64_t n,
                                  cudaDataType type, void* a, int64_t lda, void* workspace, size_t bytes, void*, size_t,
                                  int* info) {
  if (diagonal != CUBLAS_DIAG_NON_UNIT) return CUSOLVER_STATUS_NOT_SUPPORTED;
  return queue(handle, workspace, bytes, info, [=, size = static_cast<blasint>(n), ld = static_cast<blasint>(lda)] {
    blasint out = 0;
    if (type == CUDA_R_64F)
      dtrtri_(triangle(fill), "N", &size, static_cast<double*>(a), &ld, &out, 1, 1);
    else
      strtri_(triangle(fill), "N", &size, static_cast<float*>(a), &ld, &out, 1, 1);
    return static_cast<int>(out);
  });
}
