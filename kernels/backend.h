#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/codec/codec.h"
#include "src/base/dtype.h"
#include "src/base/tensor.h"

namespace mpiquant {

// Move-only owner of bytes in a memory space.
class BackendBuffer {
 public:
  BackendBuffer() = default;
  BackendBuffer(std::byte* data, std::size_t bytes, MemSpace space, std::function<void(std::byte*)> release)
      : data_(data, std::move(release)), bytes_(bytes), space_(space) {}
  std::byte* data() const { return data_.get(); }
  std::size_t bytes() const { return bytes_; }
  MemSpace space() const { return space_; }
  // The first rows*cols floats as a matrix.
  Matrix matrix(std::int64_t rows, std::int64_t cols) const;

 private:
  std::unique_ptr<std::byte, std::function<void(std::byte*)>> data_{nullptr, [](std::byte*) {}};
  std::size_t bytes_ = 0;
  MemSpace space_ = MemSpace::kHost;
};

// An in-order queue of operations. On the CPU operations run at once on the calling thread.
class Stream {
 public:
  virtual ~Stream() = default;
};

struct AttentionShape {
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t window;  // a query sees itself and the window - 1 tokens before it; 0: all before it
  float scale;          // of the scores, 1/sqrt(head_dim)
  float soft_cap = 0;   // scaled scores s become soft_cap * tanh(s / soft_cap); 0: as they are
  // [heads] in the backend's memory: a score that joins each softmax of its head and has no value; null: none.
  const float* sinks = nullptr;
};

struct FactorOptions {
  ActOrder order = ActOrder::kStatic;
  double damp_percent = 0.01;    // of the mean diagonal
  double damp_increment = 0.01;  // added after a failed factorization, until damp_percent reaches 1
};

// What a column sweep needs of a Hessian: U, the upper Cholesky factor of (H + damping)^-1 in visiting order, its rows divided by
// their diagonal. Rows of W are independent given this.
struct Factor {
  std::int64_t cols = 0;
  ActOrder order = ActOrder::kNone;
  std::vector<std::int32_t> visit;  // [cols] original column visited at each step
  std::vector<std::uint8_t> dead;   // [cols] by original column: never active in the calibration, weight set to 0
  std::vector<float> diagonal;      // [cols] U_jj by step
  std::vector<float> upper;         // packed rows: for step j the values U_ji / U_jj, i = j+1 .. cols-1; empty: see device_upper
  double damp_percent = 0;          // that succeeded
  int retries = 0;
  std::shared_ptr<BackendBuffer> device_upper;  // `upper` in the memory of a backend whose memory is a device's
  std::shared_ptr<BackendBuffer> correction;    // Backend::correction; null: weights are swept as they are
  std::shared_ptr<const void> resident;         // all of it where the backend computes (Backend::make_resident)
};

struct SweepTask {
  ConstMatrix weight;  // [rows <= kPartRows, cols] original column order
  const Factor* factor;
  CodecSpec codec;
};

// The same for parts of one or several linears that share the factor and the codec.
struct SweepGroup {
  std::span<const ConstMatrix> parts;
  const Factor* factor;
  CodecSpec codec;
};

// Where matrix work happens. Buffers are in space(); the host may not touch them unless that is kHost.
// All results depend on the operands alone, never on threads or on how much else runs.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual MemSpace space() const = 0;
  // Kernel set or device model: part of a run's identity, because results may differ between them.
  virtual std::string identity() const = 0;
  // The GPU's index among the visible ones, where buffers are on a device.
  virtual int device_index() const { return 0; }
  virtual BackendBuffer allocate(std::size_t bytes) = 0;
  // Host memory that transfers to and from the backend are fastest with.
  virtual BackendBuffer allocate_host(std::size_t bytes);
  // Makes room for so many bytes in all, before work starts. Throws (usage error) with the numbers when the device has less.
  // Where buffers come from the host's memory this does nothing.
  virtual void reserve(std::size_t) {}
  // Whether reserve() would find the room.
  virtual bool has_room(std::size_t) { return true; }
  // Tokens per product where the result is only passed on: few where memory is short, many where each product reads its weights
  // anew.
  virtual std::int64_t chunk_tokens() const { return 256; }
  // Calls body(stream, i) once for each i in [0, count) on this backend's streams and waits for all. Not to be nested.
  virtual void for_each(std::int64_t count, const std::function<void(Stream&, std::int64_t)>& body) = 0;

  virtual void upload(Stream&, std::span<const float> host, Matrix out) = 0;
  virtual void download(Stream&, ConstMatrix in, std::span<float> host) = 0;
  // Values of a floating-point dtype as they lie in a file, to fp32.
  virtual void upload_values(Stream& stream, DType dtype, std::span<const std::byte> host, Matrix out);
  virtual void copy(Stream&, ConstMatrix in, Matrix out) = 0;

  // Forward pass, x [tokens, features]. lengths: tokens of each of the samples that x concatenates.
  virtual void linear(Stream&, ConstMatrix x, ConstMatrix weight, const float* bias, Matrix y) = 0;  // y = x Wᵀ + bias
  // y = x as codec::round_activations has it, row by row.
  virtual void round_activations(Stream& stream, ConstMatrix x, Matrix y);
  virtual void rms_norm(Stream&, ConstMatrix x, const float* weight, float eps, Matrix y) = 0;
  virtual void add(Stream&, ConstMatrix x, Matrix y) = 0;  // y += x
  // x [tokens, heads * head_dim], halves rotated as in Hugging Face; cos, sin [positions, head_dim / 2].
  virtual void rotary(Stream&, Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos,
                      ConstMatrix sin) = 0;
  virtual void attention(Stream&, ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape,
                         std::span<const std::int64_t> lengths, Matrix out) = 0;
  virtual void silu_gate(Stream&, ConstMatrix gate, ConstMatrix up, Matrix out) = 0;  // silu(gate) * up

  // Hessian of a block over units x [tokens, cols]. diagonal_max: the largest diagonal element of one unit's fp32 xᵀx.
  virtual float diagonal_max(Stream&, ConstMatrix x) = 0;
  // sum += round(xᵀx * 2^exponent) for each unit; sum is the packed upper triangle, row-major, [cols * (cols + 1) / 2], on the
  // host.
  virtual void hessian_add(std::span<const ConstMatrix> units, int exponent, std::span<std::int64_t> sum) = 0;
  // hessian: packed upper triangle in fp32. Throws (gate error) when no damping up to 1 helps.
  virtual Factor factor(std::span<const float> hessian, std::int64_t cols, const FactorOptions& options) = 0;

  // GPTAQ, on backends whose memory is the host's; others have none (internal error). units, originals: inputs x of a block and
  // y, those of the original model, [tokens, cols], of the same tokens. sum [cols, cols] += round((y - x)ᵀx * 2^exponent) for
  // each unit.
  virtual void cross_add(std::span<const ConstMatrix> units, std::span<const ConstMatrix> originals, int exponent,
                         std::span<std::int64_t> sum);
  // D = alpha * sum / 2^exponent * (H + damping)^-1 for the factor's H, transposed [cols, cols]: `linear` makes W D with it.
  virtual BackendBuffer correction(const Factor& factor, std::span<const std::int64_t> sum, int exponent, double alpha);

  // The same where all stays in space(), as communicators of device buffers take it: zeros for a sum of [cols * (cols + 1) / 2]
  // int64; adding units to it; fp32(sum / 2^exponent), rounded once; and the factor of that.
  virtual BackendBuffer hessian_zeros(std::int64_t cols);
  virtual void hessian_add_to(std::span<const ConstMatrix> units, int exponent, const BackendBuffer& sum);
  virtual BackendBuffer hessian_rounded(const BackendBuffer& sum, int exponent);
  virtual Factor factor_packed(const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options);
  // Keeps a factor that came from elsewhere where sweeps read it; without this each sweep brings it again.
  virtual void make_resident(Factor&) {}

  // GPTQ: columns in the factor's order, each error carried to the columns not yet visited.
  virtual EncodedRows sweep(Stream&, const SweepTask& task) = 0;
  // The parts' results one by one, which do not depend on what else is in the group.
  virtual std::vector<EncodedRows> sweep_group(Stream& stream, const SweepGroup& group);
  // Rows that a group should have. 0: parts are swept by themselves, each on a stream.
  virtual std::int64_t group_rows() const { return 0; }
  // Round to nearest; ggml codecs give ggml's bytes.
  virtual EncodedRows encode(Stream&, ConstMatrix weight, const CodecSpec& codec) = 0;
  // g_idx [cols]: group of each column.
  virtual void decode(Stream&, const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx,
                      Matrix out) = 0;
};

// The CPU backend. threads >= 1; compute: of the products of `linear` and `hessian_add`. Throws (usage error) when products in
// that type would be slower here than in fp32.
std::unique_ptr<Backend> make_cpu_backend(int threads, ComputeType compute = ComputeType::kF32);

}  // namespace mpiquant
