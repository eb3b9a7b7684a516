#include "kernels/cuda/visit_order.h"

#include <algorithm>
#include <numeric>

#include "src/base/error.h"

namespace mpiquant::cuda {

VisitOrder visit_order(std::span<const float> diagonal, ActOrder order) {
  VisitOrder out;
  for (const float value : diagonal) {
    check(value >= 0, ExitCode::kGate, "the Hessian has {} on its diagonal (it is no sum of squares) remove the kept Hessian",
          value);
    out.dead.push_back(value == 0 ? 1 : 0);
    out.diagonal.push_back(value == 0 ? 1 : static_cast<double>(value));
  }
  out.visit.resize(diagonal.size());
  std::iota(out.visit.begin(), out.visit.end(), 0);
  if (order != ActOrder::kNone)
    std::stable_sort(out.visit.begin(), out.visit.end(), [&](std::int32_t a, std::int32_t b) {
      return out.diagonal[static_cast<std::size_t>(a)] > out.diagonal[static_cast<std::size_t>(b)];
    });
  out.mean = std::accumulate(out.diagonal.begin(), out.diagonal.end(), 0.0) / static_cast<double>(diagonal.size());
  return out;
}

double damping_of(int attempt, double first, double increment, std::int64_t cols) {
  const double damping = first + attempt * increment;
  check(damping <= 1 + 1e-9 && (attempt == 0 || increment > 0), ExitCode::kGate,
        "a Hessian of {} columns is not positive definite with damping up to {:g} (its linears cannot be quantized by GPTQ) use "
        "more "
        "calibration data, another damping, or another method for them",
        cols, damping - increment);
  return damping;
}

}  // namespace mpiquant::cuda
