#include "src/quant/hessian.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "src/base/error.h"

namespace mpiquant {

// Let D be the largest diagonal element over all units and T <= 2^22 the tokens of a unit. Any order of fp32 summation of T
// products gives |fl(Σ ab) - Σ ab| <= g Σ |ab| with g = T u / (1 - T u) <= 1/3 for u = 2^-24 (Higham, Accuracy and
// Stability, 3.1). By Cauchy-Schwarz Σ |ab| <= sqrt(Σ a² Σ b²) <= D (1 + 2^-23), as D is rounded to fp32, so an element of xᵀx is
// below 2 D < 2^(k+1) where D < 2^k. Rounding to an integer adds at most 1/2. With N <= 2^m units the sum is below 2^m (2^(k+1+e)
// + 1/2), so e <= 50 - k keeps an element within 2^51, where hessian_add rounds exactly, and e <= 60 - m - k the sum below 2^62.
int hessian_exponent(float diagonal_max, std::int64_t units) {
  expect(units > 0, "a Hessian of {} units", units);
  check(std::isfinite(diagonal_max) && diagonal_max >= 0, ExitCode::kGate,
        "calibration activations are infinite or not numbers (no Hessian can be made of them) check the source weights and the "
        "calibration data");
  if (diagonal_max == 0) return 0;
  int k = 0;
  std::frexp(diagonal_max, &k);
  const auto m = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(units - 1)));
  return std::min(50 - k, 60 - m - k);
}

Hessian rounded_hessian(std::vector<float> packed, std::int64_t cols, std::int64_t tokens) {
  check(tokens > 0, ExitCode::kGate, "a Hessian saw no tokens (its linears would become zeros) use more calibration data");
  return {cols, tokens, std::move(packed)};
}

Hessian canonical_hessian(std::span<const std::int64_t> sum, int exponent, std::int64_t cols, std::int64_t tokens) {
  expect(static_cast<std::int64_t>(sum.size()) == cols * (cols + 1) / 2, "{} sums for a Hessian of {} columns", sum.size(), cols);
  Hessian out = rounded_hessian(std::vector<float>(sum.size()), cols, tokens);
  // int64 to fp32 is the one rounding; a power of two keeps it exact but for values below the normal range.
  std::ranges::transform(sum, out.packed.begin(), [&](std::int64_t s) { return std::ldexp(static_cast<float>(s), -exponent); });
  return out;
}

}  // namespace mpiquant
