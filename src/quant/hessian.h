#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace mpiquant {

// The canonical Hessian of an input group: Σ x xᵀ over the calibration tokens, rounded once to fp32. GPTQ's H is 2 / tokens times
// it; codes do not depend on that factor, losses are proportional to it.
struct Hessian {
  std::int64_t cols = 0;
  std::int64_t tokens = 0;
  std::vector<float> packed;  // [cols * (cols + 1) / 2] upper triangle, row-major
};

// Tokens of one unit, so that the bound in hessian_exponent holds.
inline constexpr std::int64_t kMaxUnitTokens = std::int64_t{1} << 22;

// The exponent e for Backend::hessian_add: |xᵀx * 2^e| <= 2^51 for each unit, and sums over all units stay below 2^62.
// diagonal_max: of all units together (Backend::diagonal_max). Throws (gate error) when it is not finite.
int hessian_exponent(float diagonal_max, std::int64_t units);

// The sums in fp32, each rounded once to nearest even. Throws (gate error) without tokens.
Hessian canonical_hessian(std::span<const std::int64_t> sum, int exponent, std::int64_t cols, std::int64_t tokens);
// The same of sums that a backend has rounded.
Hessian rounded_hessian(std::vector<float> packed, std::int64_t cols, std::int64_t tokens);

}  // namespace mpiquant
