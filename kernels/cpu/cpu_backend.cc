#include "kernels/cpu/cpu_backend.h"

#include <cblas.h>

#include <algorithm>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/correction.h"
#include "kernels/cpu/encode.h"
#include "kernels/cpu/factor.h"
#include "kernels/cpu/forward.h"
#include "kernels/cpu/hessian.h"
#include "kernels/cpu/sweep.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
std::string CpuBackend::identity() const {
  // openblas_get_config assembles its answer in place, so it is asked once for all threads.
  static const std::string library = fmt::format("{}, core {}", openblas_get_config(), openblas_get_corename());
  return fmt::format("cpu kernels 4, {}, {}", matmul_->identity(), library);
}

BackendBuffer CpuBackend::allocate(std::size_t bytes) { return buffers_.take(bytes); }

void CpuBackend::for_each(std::int64_t count, const std::function<void(Stream&, std::int64_t)>& body) {
  pool_.for_each(count, [&](std::int64_t i) {
    Stream stream;
    body(stream, i);
  });
}

void CpuBackend::upload(Stream&, std::span<const float> host, Matrix out) {
  expect(static_cast<std::int64_t>(host.size()) == out.rows * out.cols, "upload of {} values to [{},{}]", host.size(), out.rows,
         out.cols);
  for (std::int64_t r = 0; r < out.rows; ++r) std::copy_n(host.data() + r * out.cols, out.cols, out.row(r));
}

void CpuBackend::download(Stream&, ConstMatrix in, std::span<float> host) {
  expect(static_cast<std::int64_t>(host.size()) == in.rows * in.cols, "download of [{},{}] to {} values", in.rows, in.cols,
         host.size());
  for (std::int64_t r = 0; r < in.rows; ++r) std::copy_n(in.row(r), in.cols, host.data() + r * in.cols);
}

void CpuBackend::copy(Stream&, ConstMatrix in, Matrix out) {
  expect(in.rows == out.rows && in.cols == out.cols, "copy of [{},{}] to [{},{}]", in.rows, in.cols, out.rows, out.cols);
  for (std::int64_t r = 0; r < in.rows; ++r) std::copy_n(in.row(r), in.cols, out.row(r));
}

void CpuBackend::linear(Stream&, ConstMatrix x, ConstMatrix weight, const float* bias, Matrix y) {
  cpu::linear(*matmul_, x, weight, bias, y);
}

void CpuBackend::rms_norm(Stream&, ConstMatrix x, const float* weight, float eps, Matrix y) { cpu::rms_norm(x, weight, eps, y); }

void CpuBackend::add(Stream&, ConstMatrix x, Matrix y) { cpu::add(x, y); }

void CpuBackend::rotary(Stream&, Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos,
                        ConstMatrix sin) {
  cpu::rotary(x, head_dim, lengths, cos, sin);
}

void CpuBackend::attention(Stream&, ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape,
                           std::span<const std::int64_t> lengths, Matrix out) {
  cpu::attention(q, k, v, shape, lengths, out);
}

void CpuBackend::silu_gate(Stream&, ConstMatrix gate, ConstMatrix up, Matrix out) { cpu::silu_gate(gate, up, out); }

float CpuBackend::diagonal_max(Stream&, ConstMatrix x) { return cpu::diagonal_max(x); }

void CpuBackend::hessian_add(std::span<const ConstMatrix> units, int exponent, std::span<std::int64_t> sum) {
  cpu::hessian_add(pool_, *matmul_, units, exponent, sum);
}

Factor CpuBackend::factor(std::span<const float> hessian, std::int64_t cols, const FactorOptions& options) {
  return cpu::factor(pool_, hessian, cols, options);
}

void CpuBackend::cross_add(std::span<const ConstMatrix> units, std::span<const ConstMatrix> originals, int exponent,
                           std::span<std::int64_t> sum) {
  cpu::cross_add(pool_, *matmul_, units, originals, exponent, sum);
}

BackendBuffer CpuBackend::correction(const Factor& factor, std::span<const std::int64_t> sum, int exponent, double alpha) {
  BackendBuffer out = allocate(sum.size() * sizeof(float));
  cpu::correction(pool_, factor, sum, exponent, alpha, out.matrix(factor.cols, factor.cols));
  return out;
}

EncodedRows CpuBackend::sweep(Stream&, const SweepTask& task) { return cpu::sweep(task); }

EncodedRows CpuBackend::encode(Stream&, ConstMatrix weight, const CodecSpec& codec) { return cpu::encode(weight, codec); }

void CpuBackend::decode(Stream&, const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx,
                        Matrix out) {
  cpu::decode(rows, codec, g_idx, out);
}

}  // namespace mpiquant::cpu

namespace mpiquant {

std::unique_ptr<Backend> make_cpu_backend(int threads, ComputeType compute) {
  openblas_set_num_threads(1);  // parallel work is ours alone, so that every call is the same on any number of threads
  return std::make_unique<cpu::CpuBackend>(threads, cpu::make_matmul(compute));
}

}  // namespace mpiquant
