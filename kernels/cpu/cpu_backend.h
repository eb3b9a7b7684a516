#pragma once

#include <memory>
#include <string>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cpu/buffer_pool.h"
#include "kernels/cpu/matmul.h"
#include "src/base/threads.h"

namespace mpiquant::cpu {

// Runs every operation at once on the calling thread; for_each, sums and factors share items out to the threads.
class CpuBackend final : public Backend {
 public:
  CpuBackend(int threads, std::unique_ptr<MatMul> matmul) : pool_(threads), matmul_(std::move(matmul)) {}

  MemSpace space() const override { return MemSpace::kHost; }
  std::string identity() const override;
  BackendBuffer allocate(std::size_t bytes) override;
  std::int64_t chunk_tokens() const override { return matmul_->chunk_tokens(); }
  void for_each(std::int64_t count, const std::function<void(Stream&, std::int64_t)>& body) override;

  void upload(Stream&, std::span<const float> host, Matrix out) override;
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

  void cross_add(std::span<const ConstMatrix> units, std::span<const ConstMatrix> originals, int exponent,
                 std::span<std::int64_t> sum) override;
  BackendBuffer correction(const Factor& factor, std::span<const std::int64_t> sum, int exponent, double alpha) override;

  EncodedRows sweep(Stream&, const SweepTask& task) override;
  EncodedRows encode(Stream&, ConstMatrix weight, const CodecSpec& codec) override;
  void decode(Stream&, const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx, Matrix out) override;

 private:
  ThreadPool pool_;
  BufferPool buffers_;
  std::unique_ptr<MatMul> matmul_;  // of linear and hessian_add
};

}  // namespace mpiquant::cpu
