#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/api.h"
#include "kernels/cuda/memory.h"
#include "src/base/tensor.h"

namespace mpiquant::cuda {

// A stream of the backend with what its operations need for themselves.
class CudaStream final : public Stream {
 public:
  CudaStream(int number, DeviceMemory& memory);

  int number() const { return number_; }
  cudaStream_t get() const { return stream_.get(); }
  cublasLtHandle_t lt() const { return lt_.get(); }
  std::byte* workspace() const { return workspace_.data(); }
  // For the one operation of this stream that factors.
  cusolverDnHandle_t solver();
  // Waits for all operations queued so far.
  void synchronize() const;

  // Bytes between host memory of any kind and the device, through page-locked memory: rows of `row_bytes`, `device_pitch` apart
  // on the device, dense on the host. The host memory of an upload may go once the call returns; a download has ended then.
  void upload(std::span<const std::byte> host, std::byte* device, std::size_t row_bytes, std::size_t device_pitch);
  void download(const std::byte* device, std::size_t row_bytes, std::size_t device_pitch, std::span<std::byte> host);

 private:
  static constexpr std::size_t kStaging = std::size_t{8} << 20;  // of each of two buffers
  struct Staging {
    PinnedOwner memory;
    EventOwner free;  // the last transfer that used it has ended
  };

  int number_;
  StreamOwner stream_;
  LtOwner lt_;
  SolverOwner solver_;  // made when first needed
  BackendBuffer workspace_;
  std::array<Staging, 2> staging_;
  std::size_t next_ = 0;
};

}  // namespace mpiquant::cuda
