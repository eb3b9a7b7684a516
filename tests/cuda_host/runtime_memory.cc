// Memory and devices of CUDA's runtime, on the host. The device has the limits of an H100.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/cuda_host/memory.h"
#include "tests/cuda_host/streams.h"

namespace {

using mpiquant::cuda_host::Kind;
using mpiquant::cuda_host::Streams;

constexpr int kSharedBytes = 227 << 10;

int device_count() {
  const char* value = std::getenv("MPIQUANT_CUDA_HOST_DEVICES");
  return value == nullptr ? 1 : std::stoi(value);
}

int& current_device() {
  thread_local int device = 0;
  return device;
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_error() = error;
  return error;
}

// Page-locked memory is read and written when the stream comes to it, other host memory before the call returns.
cudaError_t copy_rows(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch, std::size_t width,
                      std::size_t rows, cudaStream_t stream) {
  if (width == 0 || rows == 0) return cudaSuccess;
  if (width > to_pitch || width > from_pitch) return result(cudaErrorInvalidPitchValue);
  const auto copy = [=] {
    for (std::size_t row = 0; row < rows; ++row)
      std::memcpy(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    return true;
  };
  Streams::all().enqueue(stream, copy);
  if (mpiquant::cuda_host::kind_of(to) == Kind::kUnknown || mpiquant::cuda_host::kind_of(from) == Kind::kUnknown)
    Streams::all().drain(stream);
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  *count = device_count();
  return *count > 0 ? cudaSuccess : result(cudaErrorNoDevice);
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return result(cudaErrorInvalidDevice);
  current_device() = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  const char* name = std::getenv("MPIQUANT_CUDA_HOST_NAME");
  std::snprintf(properties->name, sizeof properties->name, "%s", name == nullptr ? "CUDA on the host" : name);
  properties->major = 9;
  properties->totalGlobalMem = mpiquant::cuda_host::total_bytes();
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  if (attribute != cudaDevAttrMaxSharedMemoryPerBlockOptin) return result(cudaErrorInvalidValue);
  *value = kSharedBytes;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char* id, int bytes, int device) {
  std::snprintf(id, static_cast<std::size_t>(bytes), "0000:%02X:00.0", device + 1);
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  const cudaError_t error = last_error();
  last_error() = cudaSuccess;
  return error;
}
const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorNoDevice: return "no CUDA-capable device is detected";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorNotReady: return "device not ready";
    default: return "an error of CUDA on the host";
  }
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  *data = mpiquant::cuda_host::allocate_device(bytes);
  return *data != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  Streams::all().drain(nullptr);
  return mpiquant::cuda_host::release(data, Kind::kDevice) ? cudaSuccess : result(cudaErrorInvalidValue);
}
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  *data = mpiquant::cuda_host::allocate_pinned(bytes);
  return *data != nullptr ? cudaSuccess : result(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void* data) {
  Streams::all().drain(nullptr);
  return mpiquant::cuda_host::release(data, Kind::kPinned) ? cudaSuccess : result(cudaErrorInvalidValue);
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = mpiquant::cuda_host::free_bytes();
  *total = mpiquant::cuda_host::total_bytes();
  return cudaSuccess;
}
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* data) {
  *attributes = {};
  const Kind kind = mpiquant::cuda_host::kind_of(data);
  attributes->type = kind == Kind::kDevice   ? cudaMemoryTypeDevice
                     : kind == Kind::kPinned ? cudaMemoryTypeHost
                                             : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}

// The default stream does not wait for the others, all of which are made non-blocking.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  Streams::all().locked([&] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  return copy_rows(to, bytes, from, bytes, bytes, 1, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind, cudaStream_t stream) {
  return copy_rows(to, to_pitch, from, from_pitch, width, height, stream);
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  Streams::all().enqueue(stream, [=] {
    std::memset(data, value, bytes);
    return true;
  });
  return cudaSuccess;
}
