// The factor of a Hessian by cuSOLVER.
#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <type_traits>

#include "kernels/block/codec.h"
#include "kernels/block/hessian.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/visit_order.h"
#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

struct DestroyParams {
  void operator()(cusolverDnParams_t params) const { cusolverDnDestroyParams(params); }
};
using Params = std::unique_ptr<std::remove_pointer_t<cusolverDnParams_t>, DestroyParams>;

Params make_params() {
  cusolverDnParams_t params = nullptr;
  check_cusolver(cusolverDnCreateParams(&params), "cusolverDnCreateParams");
  return Params(params);
}

// Cholesky factor and triangular inverse of a row-major lower triangle, which is column-major's upper one.
class Solver {
 public:
  Solver(CudaBackend& backend, cusolverDnHandle_t handle, cudaDataType type, std::int64_t n, void* a)
      : handle_(handle), params_(make_params()), type_(type), n_(n), a_(a), info_(backend.allocate(sizeof(int))) {
    check_cusolver(cusolverDnXpotrf_bufferSize(handle, params_.get(), CUBLAS_FILL_MODE_UPPER, n, type, a, n, type, &on_device_[0],
                                               &on_host_[0]),
                   "cusolverDnXpotrf_bufferSize");
    check_cusolver(cusolverDnXtrtri_bufferSize(handle, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n, type, a, n,
                                               &on_device_[1], &on_host_[1]),
                   "cusolverDnXtrtri_bufferSize");
    workspace_ = backend.allocate(std::max(on_device_[0], on_device_[1]));
    host_workspace_.resize(std::max(on_host_[0], on_host_[1]));
  }

  int* info() const { return values_of<int>(info_); }
  const BackendBuffer& info_buffer() const { return info_; }

  void cholesky() {
    check_cusolver(cusolverDnXpotrf(handle_, params_.get(), CUBLAS_FILL_MODE_UPPER, n_, type_, a_, n_, type_, workspace_.data(),
                                    on_device_[0], host_workspace_.data(), on_host_[0], info()),
                   "cusolverDnXpotrf");
  }
  void invert() {
    check_cusolver(cusolverDnXtrtri(handle_, CUBLAS_FILL_MODE_UPPER, CUBLAS_DIAG_NON_UNIT, n_, type_, a_, n_, workspace_.data(),
                                    on_device_[1], host_workspace_.data(), on_host_[1], info()),
                   "cusolverDnXtrtri");
  }

 private:
  cusolverDnHandle_t handle_;
  Params params_;
  cudaDataType type_;
  std::int64_t n_;
  void* a_;
  BackendBuffer info_, workspace_;
  std::array<std::size_t, 2> on_device_{}, on_host_{};  // bytes for Cholesky and inverse
  std::vector<std::byte> host_workspace_;
};

}  // namespace

template <typename Real>
Factor CudaBackend::factor_as(CudaStream& stream, const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options) {
  const cudaStream_t queue = stream.get();
  const auto n = static_cast<std::size_t>(cols);
  const BackendBuffer diagonal_buffer = allocate(n * sizeof(float));
  run_elements(block::DiagonalOp{values_of<float>(packed), cols, values_of<float>(diagonal_buffer)}, 1, cols, queue, "diagonal");
  VisitOrder order = visit_order(fetch<float>(stream, diagonal_buffer, cols), options.order);

  Factor out;
  auto resident = std::make_shared<DeviceFactor>();
  resident->visit = put(stream, std::span<const std::int32_t>(order.visit));
  resident->dead = put(stream, std::span<const std::uint8_t>(order.dead));
  resident->diagonal = allocate(n * sizeof(float));
  resident->upper = std::make_shared<BackendBuffer>(allocate(n * (n - 1) / 2 * sizeof(float)));
  {
    const BackendBuffer diagonal = put(stream, std::span<const double>(order.diagonal));
    const BackendBuffer dense = allocate(n * n * sizeof(Real)), pivots = allocate(n * sizeof(Real));
    auto* a = values_of<Real>(dense);
    Solver solver(*this, stream.solver(), std::is_same_v<Real, double> ? CUDA_R_64F : CUDA_R_32F, cols, a);
    for (;; ++out.retries) {
      out.damp_percent = damping_of(out.retries, options.damp_percent, options.damp_increment, cols);
      run_elements(block::ReversedHessianOp<Real>{values_of<float>(packed), values_of<std::int32_t>(resident->visit),
                                                  values_of<double>(diagonal), out.damp_percent * order.mean, cols, a},
                   cols, cols, queue, "reversed Hessian");
      solver.cholesky();
      if (fetch<int>(stream, solver.info_buffer(), 1).front() == 0) break;
    }
    run_elements(block::PivotOp<Real>{a, cols, values_of<Real>(pivots)}, 1, cols, queue, "pivots");
    solver.invert();
    expect(fetch<int>(stream, solver.info_buffer(), 1).front() == 0, "the inverse of a Cholesky factor does not exist");
    run_elements(block::FactorOp<Real>{a, values_of<Real>(pivots), cols, values_of<float>(*resident->upper),
                                       values_of<float>(resident->diagonal)},
                 cols, cols, queue, "factor");
    stream.synchronize();
  }
  out.cols = cols;
  out.order = options.order;
  out.visit = std::move(order.visit);
  out.dead = std::move(order.dead);
  out.diagonal = fetch<float>(stream, resident->diagonal, cols);
  out.device_upper = resident->upper;
  out.resident = std::move(resident);
  return out;
}

Factor CudaBackend::factor_on(CudaStream& stream, const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options) {
  const std::int64_t count = cols * (cols + 1) / 2;
  const ConstMatrix values{values_of<float>(packed), 1, count, count, MemSpace::kDevice};
  const BackendBuffer found = find_non_finite(stream, {&values, 1});
  check(fetch<std::int32_t>(stream, found, 1).front() == 0, ExitCode::kGate,
        "the Hessian has infinite elements or such that are no numbers (calibration overflowed) check the source weights and the "
        "calibration data");
  return options_.double_factor ? factor_as<double>(stream, packed, cols, options)
                                : factor_as<float>(stream, packed, cols, options);
}

Factor CudaBackend::factor(std::span<const float> hessian, std::int64_t cols, const FactorOptions& options) {
  expect(cols > 0 && static_cast<std::int64_t>(hessian.size()) == cols * (cols + 1) / 2, "a Hessian of {} values for {} columns",
         hessian.size(), cols);
  const Lease lease(*this, Take::kTurn);
  return factor_on(lease.stream(), put(lease.stream(), hessian), cols, options);
}

BackendBuffer CudaBackend::hessian_rounded(const BackendBuffer& sum, int exponent) {
  const auto count = static_cast<std::int64_t>(sum.bytes() / sizeof(std::int64_t));
  BackendBuffer packed = allocate(static_cast<std::size_t>(count) * sizeof(float));
  const Lease lease(*this, Take::kStreamOnly);
  run_elements(block::RoundSumOp{values_of<std::int64_t>(sum), std::ldexp(1.0, -exponent), values_of<float>(packed)}, 1, count,
               lease.stream().get(), "round the Hessian");
  lease.stream().synchronize();
  return packed;
}

Factor CudaBackend::factor_packed(const BackendBuffer& packed, std::int64_t cols, const FactorOptions& options) {
  expect(cols > 0 && packed.bytes() == static_cast<std::size_t>(cols * (cols + 1) / 2) * sizeof(float),
         "a Hessian of {} bytes for {} columns", packed.bytes(), cols);
  const Lease lease(*this, Take::kTurn);
  return factor_on(lease.stream(), packed, cols, options);
}

std::shared_ptr<const DeviceFactor> CudaBackend::on_device(CudaStream& stream, const Factor& factor) {
  if (factor.resident) return std::static_pointer_cast<const DeviceFactor>(factor.resident);
  auto out = std::make_shared<DeviceFactor>();
  out->visit = put(stream, std::span(factor.visit));
  out->dead = put(stream, std::span(factor.dead));
  out->diagonal = put(stream, std::span(factor.diagonal));
  out->upper = factor.device_upper ? factor.device_upper : std::make_shared<BackendBuffer>(put(stream, std::span(factor.upper)));
  return out;
}

void CudaBackend::make_resident(Factor& factor) {
  if (factor.resident) return;
  const Lease lease(*this, Take::kTurn);
  factor.resident = on_device(lease.stream(), factor);
  lease.stream().synchronize();
}

}  // namespace mpiquant::cuda
