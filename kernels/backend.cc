#include "kernels/backend.h"

#include <algorithm>
#include <cmath>

#include "kernels/codec/activations.h"
#include "src/base/error.h"

// What backends on host memory have in common.
namespace mpiquant {
namespace {

template <typename T>
std::span<T> values_of(const BackendBuffer& buffer) {
  expect(buffer.space() == MemSpace::kHost, "device memory, where the backend has no operations of its own on it");
  return {reinterpret_cast<T*>(buffer.data()), buffer.bytes() / sizeof(T)};
}

}  // namespace

BackendBuffer Backend::allocate_host(std::size_t bytes) {
  return {new std::byte[bytes], bytes, MemSpace::kHost, [](std::byte* data) { delete[] data; }};
}

void Backend::upload_values(Stream& stream, DType dtype, std::span<const std::byte> host, Matrix out) {
  std::vector<float> values(host.size() / size_of(dtype));
  to_f32(dtype, host, values);
  upload(stream, values, out);
}

void Backend::round_activations(Stream& stream, ConstMatrix x, Matrix y) {
  std::vector<float> values(static_cast<std::size_t>(x.rows * x.cols));
  download(stream, x, values);
  codec::round_activations(values);
  upload(stream, values, y);
}

std::vector<EncodedRows> Backend::sweep_group(Stream& stream, const SweepGroup& group) {
  std::vector<EncodedRows> out;
  for (const ConstMatrix& part : group.parts) out.push_back(sweep(stream, {part, group.factor, group.codec}));
  return out;
}

void Backend::cross_add(std::span<const ConstMatrix>, std::span<const ConstMatrix>, int, std::span<std::int64_t>) {
  fail(ExitCode::kInternal, "internal error: cross moments on a backend that has none");
}

BackendBuffer Backend::correction(const Factor&, std::span<const std::int64_t>, int, double) {
  fail(ExitCode::kInternal, "internal error: a correction on a backend that has none");
}

BackendBuffer Backend::hessian_zeros(std::int64_t cols) {
  BackendBuffer sum = allocate(static_cast<std::size_t>(cols * (cols + 1) / 2) * sizeof(std::int64_t));
  std::ranges::fill(values_of<std::int64_t>(sum), 0);
  return sum;
}

void Backend::hessian_add_to(std::span<const ConstMatrix> units, int exponent, const BackendBuffer& sum) {
  hessian_add(units, exponent, values_of<std::int64_t>(sum));
}

BackendBuffer Backend::hessian_rounded(const BackendBuffer& sum, int exponent) {
  const std::span<std::int64_t> values = values_of<std::int64_t>(sum);
  BackendBuffer packed = allocate(values.size() * sizeof(float));
  std::ranges::transform(values, values_of<float>(packed).begin(),
                         [&](std::int64_t value) { return std::ldexp(static_cast<float>(value), -exponent); });
  return packed;
}

Factor Backend::factor_packed(const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options) {
  return factor(values_of<float>(packed), cols, options);
}

}  // namespace mpiquant
