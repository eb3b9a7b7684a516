#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

namespace mpiquant::cpu {

// Sums and maxima run over this many independent lanes, so that every vector width adds in the same order.
inline constexpr std::int64_t kLanes = 16;

// e^x within 2 ulp for x in [-87, 88], clamped outside; NaN gives NaN. Branch-free, so that loops over it become vector code; the
// fused operations are explicit, so that the result is the same on every instruction set.
[[gnu::always_inline]] inline float exp_fast(float x) {
  constexpr float kLow = -87.0F, kHigh = 88.0F;
  constexpr float kLog2e = 1.44269504F;
  constexpr float kLn2High = 0.693359375F, kLn2Low = -2.12194440e-4F;  // Cephes: the first product is exact
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: the sum's low mantissa bits are the nearest integer
  x = x < kLow ? kLow : x;
  x = x > kHigh ? kHigh : x;
  const float shifted = std::fma(x, kLog2e, kRound);
  const float n = shifted - kRound;
  const float r = std::fma(n, -kLn2Low, std::fma(n, -kLn2High, x));  // |r| <= ln(2) / 2
  float p = 1.0F / 5040.0F;                                          // Taylor: the next term is 0.1 ulp
  p = std::fma(p, r, 1.0F / 720.0F);
  p = std::fma(p, r, 1.0F / 120.0F);
  p = std::fma(p, r, 1.0F / 24.0F);
  p = std::fma(p, r, 1.0F / 6.0F);
  p = std::fma(p, r, 0.5F);
  p = std::fma(p, r, 1.0F);
  p = std::fma(p, r, 1.0F);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << 23U));
}

// x as bfloat16, rounded to nearest even; NaN stays NaN. Branch-free.
[[gnu::always_inline]] inline std::uint16_t round_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U;
  const std::uint32_t quiet = (bits >> 16U) | 0x40U;
  return static_cast<std::uint16_t>((bits & 0x7fffffffU) > 0x7f800000U ? quiet : rounded);
}

// The lanes' sum, in halves.
template <typename T>
[[gnu::always_inline]] inline T sum_lanes(std::array<T, kLanes> lanes) {
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

}  // namespace mpiquant::cpu
