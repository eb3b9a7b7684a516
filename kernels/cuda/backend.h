#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/api.h"
#include "kernels/cuda/memory.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda_backend.h"
#include "src/base/threads.h"

namespace mpiquant::cuda {

// A factor on the device (Factor::resident).
struct DeviceFactor {
  BackendBuffer visit;                   // int32 [cols]
  BackendBuffer dead;                    // uint8 [cols]
  BackendBuffer diagonal;                // float [cols]
  std::shared_ptr<BackendBuffer> upper;  // float, packed as Factor::upper
};

// Matrix work on one NVIDIA GPU. Each operation is queued on its stream; those that return values wait for it.
class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const CudaOptions& options);

  MemSpace space() const override { return MemSpace::kDevice; }
  std::string identity() const override;
  int device_index() const override { return options_.device; }
  BackendBuffer allocate(std::size_t bytes) override { return memory().allocate(bytes); }
  // Page-locked, and kept for later, because locking pages takes longer than using them.
  BackendBuffer allocate_host(std::size_t bytes) override;
  void reserve(std::size_t bytes) override;
  bool has_room(std::size_t bytes) override;
  std::int64_t chunk_tokens() const override { return 4096; }
  void for_each(std::int64_t count, const std::function<void(Stream&, std::int64_t)>& body) override;

  void upload(Stream&, std::span<const float> host, Matrix out) override;
  void upload_values(Stream&, DType dtype, std::span<const std::byte> host, Matrix out) override;
  void download(Stream&, ConstMatrix in, std::span<float> host) override;
  void copy(Stream&, ConstMatrix in, Matrix out) override;

  void linear(Stream&, ConstMatrix x, ConstMatrix weight, const float* bias, Matrix y) override;
  void rms_norm(Stream&, ConstMatrix x, const float* weight, float eps, Matrix y) override;
  void add(Stream&, ConstMatrix x, Matrix y) override;
  void rotary(Stream&, Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos,
              ConstMatrix sin) override;
  void attention(Stream&, ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape,
                 std::span<const std::int64_t> lengths, Matrix out) override;
  void silu_gate(Stream&, ConstMatrix gate, ConstMatrix up, Matrix out) override;

  float diagonal_max(Stream&, ConstMatrix x) override;
  void hessian_add(std::span<const ConstMatrix> units, int exponent, std::span<std::int64_t> sum) override;
  Factor factor(std::span<const float> hessian, std::int64_t cols, const FactorOptions& options) override;
  BackendBuffer hessian_zeros(std::int64_t cols) override;
  void hessian_add_to(std::span<const ConstMatrix> units, int exponent, const BackendBuffer& sum) override;
  BackendBuffer hessian_rounded(const BackendBuffer& sum, int exponent) override;
  Factor factor_packed(const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options) override;
  void make_resident(Factor& factor) override;

  // A row's result does not depend on the others, so that any number of rows, of parts and of linears go through one launch.
  EncodedRows sweep(Stream&, const SweepTask& task) override;
  std::vector<EncodedRows> sweep_group(Stream& stream, const SweepGroup& swept) override;
  std::int64_t group_rows() const override { return std::int64_t{1} << 15; }
  EncodedRows encode(Stream&, ConstMatrix weight, const CodecSpec& codec) override;
  void decode(Stream&, const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx, Matrix out) override;

 private:
  // A stream that nobody else uses until the object is gone, which waits for it. kTurn: what this thread gives back is the
  // stream's; without it a thread may hold several streams, and gives back only what they have done with.
  enum class Take : std::uint8_t { kTurn, kStreamOnly };
  class Lease {
   public:
    Lease(CudaBackend& backend, Take take);
    ~Lease();
    Lease(const Lease&) = delete;
    CudaStream& stream() const { return *stream_; }

   private:
    CudaBackend& backend_;
    CudaStream* stream_;
    std::optional<DeviceMemory::Turn> turn_;
  };

  static constexpr int kHessianStreams = 2;  // that a Hessian takes, whatever number of threads there is

  DeviceMemory& memory();
  // Operands of products have 2 bytes: bfloat16 or half.
  bool narrow() const { return options_.compute != ComputeType::kF32; }
  // Of the arena that the backend takes for buffers of so many bytes.
  std::size_t region_for(std::size_t bytes) const;
  cudaDataType operand_type() const;
  // y [x.rows, ldy] = x in the operands' type of 2 bytes; columns beyond x's become zero.
  void to_narrow(ConstMatrix x, std::byte* y, std::int64_t ldy, cudaStream_t queue) const;
  // x [rows, cols] as an operand of products: itself in fp32, or a copy in 2 bytes.
  struct Operand {
    const void* data;
    std::int64_t ld;
    BackendBuffer copy;
  };
  Operand operand(CudaStream& stream, ConstMatrix x);
  template <typename Real>
  Factor factor_as(CudaStream& stream, const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options);
  Factor factor_on(CudaStream& stream, const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options);
  std::shared_ptr<const DeviceFactor> on_device(CudaStream& stream, const Factor& factor);
  BackendBuffer find_non_finite(CudaStream& stream, std::span<const ConstMatrix> all);
  // A copy of host values on the device, and the other way round.
  template <typename T>
  BackendBuffer put(CudaStream& stream, std::span<const T> values);
  template <typename T>
  std::vector<T> fetch(CudaStream& stream, const BackendBuffer& buffer, std::int64_t count, std::int64_t first = 0);

  struct Pinned {
    std::mutex mutex;
    std::multimap<std::size_t, PinnedOwner> free;  // by bytes
  };

  CudaOptions options_;
  std::shared_ptr<Pinned> pinned_ = std::make_shared<Pinned>();
  ThreadPool pool_;
  std::once_flag memory_once_;
  std::shared_ptr<DeviceMemory> memory_;
  Products products_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<CudaStream>> streams_;  // made when first needed
  std::vector<CudaStream*> idle_;
};

// The stream of an operation, which for_each gave.
CudaStream& cuda_stream(Stream& stream);
// Host memory given where a device matrix belongs is an internal error.
void expect_device(ConstMatrix x);

template <typename T>
T* values_of(const BackendBuffer& buffer) {
  return reinterpret_cast<T*>(buffer.data());
}

template <typename T>
BackendBuffer CudaBackend::put(CudaStream& stream, std::span<const T> values) {
  BackendBuffer out = allocate(values.size_bytes());
  stream.upload(std::as_bytes(values), out.data(), values.size_bytes(), values.size_bytes());
  return out;
}

template <typename T>
std::vector<T> CudaBackend::fetch(CudaStream& stream, const BackendBuffer& buffer, std::int64_t count, std::int64_t first) {
  std::vector<T> out(static_cast<std::size_t>(count));
  const std::size_t bytes = out.size() * sizeof(T);
  stream.download(reinterpret_cast<const std::byte*>(values_of<T>(buffer) + first), bytes, bytes,
                  std::as_writable_bytes(std::span(out)));
  return out;
}

}  // namespace mpiquant::cuda
