// Transfers and the forward pass.
#include "kernels/block/forward.h"

#include <algorithm>
#include <numeric>

#include "kernels/block/attention.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"
#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

std::byte* bytes_at(Matrix x) { return reinterpret_cast<std::byte*>(x.data); }

template <typename Element>
void convert(const BackendBuffer& raw, Matrix out, cudaStream_t stream) {
  run_elements(block::FromBitsOp<Element>{values_of<Element>(raw), out.cols, out.data, out.ld}, out.rows, out.cols, stream,
               "convert");
}

}  // namespace

void CudaBackend::upload(Stream& stream, std::span<const float> host, Matrix out) {
  expect_device(out);
  expect(static_cast<std::int64_t>(host.size()) == out.rows * out.cols, "upload of {} values to [{},{}]", host.size(), out.rows,
         out.cols);
  cuda_stream(stream).upload(std::as_bytes(host), bytes_at(out), static_cast<std::size_t>(out.cols) * sizeof(float),
                             static_cast<std::size_t>(out.ld) * sizeof(float));
}

void CudaBackend::upload_values(Stream& stream, DType dtype, std::span<const std::byte> host, Matrix out) {
  if (dtype != DType::kBF16 && dtype != DType::kF16) return Backend::upload_values(stream, dtype, host, out);
  expect_device(out);
  expect(static_cast<std::int64_t>(host.size()) == out.rows * out.cols * 2, "upload of {} bytes to [{},{}]", host.size(),
         out.rows, out.cols);
  CudaStream& mine = cuda_stream(stream);
  const BackendBuffer raw = put(mine, host);
  if (dtype == DType::kBF16) return convert<block::Bf16>(raw, out, mine.get());
  convert<block::Half>(raw, out, mine.get());
}

void CudaBackend::download(Stream& stream, ConstMatrix in, std::span<float> host) {
  expect_device(in);
  expect(static_cast<std::int64_t>(host.size()) == in.rows * in.cols, "download of [{},{}] to {} values", in.rows, in.cols,
         host.size());
  cuda_stream(stream).download(reinterpret_cast<const std::byte*>(in.data), static_cast<std::size_t>(in.cols) * sizeof(float),
                               static_cast<std::size_t>(in.ld) * sizeof(float), std::as_writable_bytes(host));
}

void CudaBackend::copy(Stream& stream, ConstMatrix in, Matrix out) {
  expect_device(in);
  expect_device(out);
  expect(in.rows == out.rows && in.cols == out.cols, "copy of [{},{}] to [{},{}]", in.rows, in.cols, out.rows, out.cols);
  run_elements(block::CopyOp{in.data, in.ld, out.data, out.ld}, in.rows, in.cols, cuda_stream(stream).get(), "copy");
}

cudaDataType CudaBackend::operand_type() const {
  switch (options_.compute) {
    case ComputeType::kBF16: return CUDA_R_16BF;
    case ComputeType::kF16: return CUDA_R_16F;
    default: return CUDA_R_32F;
  }
}

void CudaBackend::to_narrow(ConstMatrix x, std::byte* y, std::int64_t ldy, cudaStream_t queue) const {
  if (options_.compute == ComputeType::kBF16)
    run_elements(block::ToBitsOp<block::Bf16>{x.data, x.ld, x.cols, reinterpret_cast<block::Bf16*>(y), ldy}, x.rows, ldy, queue,
                 "bfloat16");
  else
    run_elements(block::ToBitsOp<block::Half>{x.data, x.ld, x.cols, reinterpret_cast<block::Half*>(y), ldy}, x.rows, ldy, queue,
                 "half");
}

CudaBackend::Operand CudaBackend::operand(CudaStream& stream, ConstMatrix x) {
  if (!narrow()) return {x.data, x.ld, {}};
  const std::int64_t ld = block::divide_up(x.cols, 8) * 8;
  Operand out{nullptr, ld, allocate(static_cast<std::size_t>(x.rows * ld) * sizeof(std::uint16_t))};
  to_narrow(x, out.copy.data(), ld, stream.get());
  out.data = out.copy.data();
  return out;
}

void CudaBackend::linear(Stream& stream, ConstMatrix x, ConstMatrix weight, const float* bias, Matrix y) {
  for (const ConstMatrix& matrix : {x, weight, ConstMatrix(y)}) expect_device(matrix);
  expect(x.cols == weight.cols && y.rows == x.rows && y.cols == weight.rows, "linear: shapes [{},{}] [{},{}] [{},{}]", x.rows,
         x.cols, weight.rows, weight.cols, y.rows, y.cols);
  if (x.rows == 0) return;
  CudaStream& mine = cuda_stream(stream);
  const Operand left = operand(mine, weight), right = operand(mine, x);
  products_.run(mine.lt(), mine.get(), mine.workspace(),
                {true, false, y.cols, y.rows, x.cols, left.data, left.ld, right.data, right.ld, y.data, y.ld, operand_type()});
  if (bias != nullptr) run_elements(block::BiasOp{bias, y.data, y.ld}, y.rows, y.cols, mine.get(), "bias");
}

void CudaBackend::rms_norm(Stream& stream, ConstMatrix x, const float* weight, float eps, Matrix y) {
  expect_device(x);
  expect_device(y);
  expect(x.rows == y.rows && x.cols == y.cols, "rms_norm: shapes [{},{}] [{},{}]", x.rows, x.cols, y.rows, y.cols);
  run(block::RmsNorm{x.data, x.ld, weight, y.data, y.ld, x.rows, x.cols, eps}, cuda_stream(stream).get(), "rms_norm");
}

void CudaBackend::add(Stream& stream, ConstMatrix x, Matrix y) {
  expect_device(x);
  expect_device(y);
  expect(x.rows == y.rows && x.cols == y.cols, "add: shapes [{},{}] [{},{}]", x.rows, x.cols, y.rows, y.cols);
  run_elements(block::AddOp{x.data, x.ld, y.data, y.ld}, x.rows, x.cols, cuda_stream(stream).get(), "add");
}

void CudaBackend::rotary(Stream& stream, Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos,
                         ConstMatrix sin) {
  for (const ConstMatrix& matrix : {ConstMatrix(x), cos, sin}) expect_device(matrix);
  const std::int64_t half = head_dim / 2;
  expect(head_dim % 2 == 0 && x.cols % head_dim == 0 && cos.cols == half && sin.cols == half && cos.rows == sin.rows,
         "rotary: {} columns, head of {}, tables of {}", x.cols, head_dim, cos.cols);
  expect(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}) == x.rows, "rotary: lengths do not sum to {}", x.rows);
  std::int64_t row = 0;
  for (const std::int64_t length : lengths) {
    expect(length <= cos.rows, "rotary: {} tokens, table of {} positions", length, cos.rows);
    run_elements(block::RotaryOp{x.row(row), x.ld, cos.data, cos.ld, sin.data, sin.ld, half}, length, x.cols / 2,
                 cuda_stream(stream).get(), "rotary");
    row += length;
  }
}

void CudaBackend::silu_gate(Stream& stream, ConstMatrix gate, ConstMatrix up, Matrix out) {
  for (const ConstMatrix& matrix : {gate, up, ConstMatrix(out)}) expect_device(matrix);
  expect(gate.rows == up.rows && gate.cols == up.cols && out.rows == gate.rows && out.cols == gate.cols,
         "silu_gate: shapes differ");
  run_elements(block::SiluGateOp{gate.data, gate.ld, up.data, up.ld, out.data, out.ld}, out.rows, out.cols,
               cuda_stream(stream).get(), "silu_gate");
}

void CudaBackend::attention(Stream& stream, ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape,
                            std::span<const std::int64_t> lengths, Matrix out) {
  for (const ConstMatrix& matrix : {q, k, v, ConstMatrix(out)}) expect_device(matrix);
  const std::int64_t dim = shape.head_dim;
  expect(q.cols == shape.heads * dim && out.cols == q.cols && k.cols == shape.kv_heads * dim && v.cols == k.cols,
         "attention: {} queries, {} keys, {} heads of {}", q.cols, k.cols, shape.heads, dim);
  expect(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "attention: {} heads share {}", shape.heads, shape.kv_heads);
  expect(k.rows == q.rows && v.rows == q.rows && out.rows == q.rows &&
             std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}) == q.rows,
         "attention: lengths do not sum to {} rows", q.rows);
  int most = 0;
  check_cuda(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, options_.device), "cudaDeviceGetAttribute");
  const cudaStream_t queue = cuda_stream(stream).get();
  std::int64_t row = 0;
  for (const std::int64_t length : lengths) {
    const auto fill = [&](auto body) {
      body = {q.row(row),
              q.ld,
              k.row(row),
              k.ld,
              v.row(row),
              v.ld,
              out.row(row),
              out.ld,
              length,
              static_cast<int>(shape.heads),
              static_cast<int>(shape.heads / shape.kv_heads),
              static_cast<int>(dim),
              shape.window,
              shape.scale,
              shape.soft_cap,
              shape.sinks};
      return body;
    };
    const auto narrow_tiles = [&]<typename Element>(Element) {
      const auto wide = fill(block::Attention<Element, TensorTiles, 64>{});
      if (options_.plain_tiles)
        run(fill(block::Attention<Element, block::PlainTiles, 16>{}), queue, "attention");
      else if (wide.shared_bytes() <= static_cast<std::size_t>(most))
        run(wide, queue, "attention");
      else
        run(fill(block::Attention<Element, TensorTiles, 16>{}), queue, "attention");
    };
    switch (options_.compute) {
      case ComputeType::kBF16: narrow_tiles(block::Bf16{}); break;
      case ComputeType::kF16: narrow_tiles(block::Half{}); break;
      default: run(fill(block::Attention<float, block::PlainTiles, 16>{}), queue, "attention");
    }
    row += length;
  }
}

}  // namespace mpiquant::cuda
