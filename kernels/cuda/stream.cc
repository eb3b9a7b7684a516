#include "kernels/cuda/stream.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/pieces.h"
#include "kernels/cuda/product.h"
#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

// A run of bytes is one row, longer than the pitch of the matrix it goes through.
std::size_t pitch_of(const CopyPiece& piece, std::size_t pitch) { return piece.rows == 1 ? piece.row_bytes : pitch; }

}  // namespace

CudaStream::CudaStream(int number, DeviceMemory& memory)
    : number_(number), stream_(make_stream()), lt_(make_lt()), workspace_(memory.allocate(Products::kWorkspace)) {
  for (Staging& staging : staging_) staging = {allocate_pinned(kStaging), make_event()};
}

cusolverDnHandle_t CudaStream::solver() {
  if (!solver_) {
    solver_ = make_solver();
    check_cusolver(cusolverDnSetStream(solver_.get(), stream_.get()), "cusolverDnSetStream");
  }
  return solver_.get();
}

void CudaStream::synchronize() const { check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize"); }

void CudaStream::upload(std::span<const std::byte> host, std::byte* device, std::size_t row_bytes, std::size_t device_pitch) {
  if (host.empty()) return;
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, host.data()) == cudaSuccess && attributes.type == cudaMemoryTypeHost) {
    // Pitches have an upper limit, runs of bytes have none.
    const cudaError_t result = row_bytes == device_pitch
                                   ? cudaMemcpyAsync(device, host.data(), host.size(), cudaMemcpyHostToDevice, stream_.get())
                                   : cudaMemcpy2DAsync(device, device_pitch, host.data(), row_bytes, row_bytes,
                                                       host.size() / row_bytes, cudaMemcpyHostToDevice, stream_.get());
    check_cuda(result, "cudaMemcpyAsync");
    return synchronize();
  }
  cudaGetLastError();  // memory that CUDA does not know is no error
  for (const CopyPiece& piece : copy_pieces(host.size(), row_bytes, device_pitch, kStaging)) {
    Staging& staging = staging_[next_++ % staging_.size()];
    check_cuda(cudaEventSynchronize(staging.free.get()), "cudaEventSynchronize");
    std::memcpy(staging.memory.get(), host.data() + piece.host, piece.rows * piece.row_bytes);
    check_cuda(cudaMemcpy2DAsync(device + piece.device, pitch_of(piece, device_pitch), staging.memory.get(), piece.row_bytes,
                                 piece.row_bytes, piece.rows, cudaMemcpyHostToDevice, stream_.get()),
               "cudaMemcpy2DAsync");
    check_cuda(cudaEventRecord(staging.free.get(), stream_.get()), "cudaEventRecord");
  }
}

void CudaStream::download(const std::byte* device, std::size_t row_bytes, std::size_t device_pitch, std::span<std::byte> host) {
  const auto pieces = copy_pieces(host.size(), row_bytes, device_pitch, kStaging);
  const std::size_t first = next_;
  const auto fetch = [&](std::size_t i) {
    const CopyPiece& piece = pieces[i];
    Staging& staging = staging_[(first + i) % staging_.size()];
    check_cuda(cudaMemcpy2DAsync(staging.memory.get(), piece.row_bytes, device + piece.device, pitch_of(piece, device_pitch),
                                 piece.row_bytes, piece.rows, cudaMemcpyDeviceToHost, stream_.get()),
               "cudaMemcpy2DAsync");
    check_cuda(cudaEventRecord(staging.free.get(), stream_.get()), "cudaEventRecord");
  };
  if (!pieces.empty()) fetch(0);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (i + 1 < pieces.size()) fetch(i + 1);
    const Staging& staging = staging_[(first + i) % staging_.size()];
    check_cuda(cudaEventSynchronize(staging.free.get()), "cudaEventSynchronize");
    std::memcpy(host.data() + pieces[i].host, staging.memory.get(), pieces[i].rows * pieces[i].row_bytes);
  }
  next_ = first + pieces.size();
}

}  // namespace mpiquant::cuda
