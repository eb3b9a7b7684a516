#include "kernels/backend.h"

#include <algorithm>
#include <cmath>

#include "src/base/error.h"

// What backends on host memory have in common.
namespace mpiquant {
namespace {

std::span<std::int64_t> values_of(const BackendBuffer& sum) {
  expect(sum.space() == MemSpace::kHost, "a sum in device memory, where the backend has no operations of its own on it");
  return {reinterpret_cast<std::int64_t*>(sum.data()), sum.bytes() / sizeof(std::int64_t)};
}

}  // namespace

void Backend::upload_values(Stream& stream, DType dtype, std::span<const std::byte> host, Matrix out) {
  std::vector<float> values(host.size() / size_of(dtype));
  to_f32(dtype, host, values);
  upload(stream, values, out);
}

BackendBuffer Backend::hessian_zeros(std::int64_t cols) {
  BackendBuffer sum = allocate(static_cast<std::size_t>(cols * (cols + 1) / 2) * sizeof(std::int64_t));
  std::ranges::fill(values_of(sum), 0);
  return sum;
}

void Backend::hessian_add_to(std::span<const ConstMatrix> units, int exponent, const BackendBuffer& sum) {
  hessian_add(units, exponent, values_of(sum));
}

std::vector<float> Backend::hessian_rounded(const BackendBuffer& sum, int exponent) {
  const std::span<std::int64_t> values = values_of(sum);
  std::vector<float> packed(values.size());
  std::ranges::transform(values, packed.begin(),
                         [&](std::int64_t value) { return std::ldexp(static_cast<float>(value), -exponent); });
  return packed;
}

Factor Backend::factor_sum(const BackendBuffer& sum, int exponent, std::int64_t cols, const FactorOptions& options) {
  return factor(hessian_rounded(sum, exponent), cols, options);
}

}  // namespace mpiquant
