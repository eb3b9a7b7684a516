#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/hd.h"
#include "src/base/dtype.h"

// Scalar pieces of the codecs: the same bits on host and device. No contraction, no fast-math; branch-free where loops over rows
// should become vector code.
namespace mpiquant::codec {

// Nearest integer, ties to even; exact for |x| < 2^22 (float) or 2^51 (double), and anything larger stays large.
MQ_HD inline float round_even(float x) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: the sum has no fraction bits
  return (x + kShift) - kShift;
}
MQ_HD inline double round_even(double x) {
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52
  return (x + kShift) - kShift;
}

MQ_HD inline float clamp(float x, float low, float high) {
  const float above = x < low ? low : x;
  return above > high ? high : above;
}

MQ_HD inline std::uint32_t float_bits(float x) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
MQ_HD inline float bits_float(std::uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// |e|^2.4 within 2^-20, for 2^-37 < |e| <= 1 (nearly 0 below): t = e², r = t^(-1/5) from its exponent and three Newton steps, (t
// r²)² = t^(6/5).
MQ_HD inline float power_2_4(float e) {
  const float t = e * e + 0x1p-100F;  // away from 0, where r would not be finite
  const auto fifth = static_cast<std::int32_t>(static_cast<float>(static_cast<std::int32_t>(float_bits(t))) * 0.2F);
  float r = bits_float(static_cast<std::uint32_t>(0x4c2bb923 - fifth));  // within 3.2 %
  for (int step = 0; step < 3; ++step) {
    const float r2 = r * r;
    r = r * (1.2F - 0.2F * (t * (r2 * r2 * r)));
  }
  const float root = t * (r * r);
  return root * root;
}

// x after it was stored as half or bfloat16, ties to even.
MQ_HD inline float through_f16(float x) {
  const std::uint32_t sign = float_bits(x) & 0x80000000U;
  const std::uint32_t magnitude = float_bits(x) & 0x7fffffffU;
  const std::uint32_t small = float_bits((bits_float(magnitude) + 0.5F) - 0.5F);  // subnormal: units of 2^-24
  const std::uint32_t normal = (magnitude + 0xfffU + ((magnitude >> 13) & 1U)) & ~0x1fffU;
  const std::uint32_t finite = magnitude < 0x38800000U ? small : normal;
  return bits_float(sign | (magnitude >= 0x477ff000U ? 0x7f800000U : finite));  // that rounds to 65536 or more
}
// The bits of x as half, for an x that through_f16 leaves as it is.
MQ_HD inline std::uint16_t f16_bits(float x) {
  const std::uint32_t sign = (float_bits(x) >> 16) & 0x8000U;
  const std::uint32_t magnitude = float_bits(x) & 0x7fffffffU;
  const std::uint32_t small = float_bits(bits_float(magnitude) + 0.5F) - 0x3f000000U;  // subnormal: units of 2^-24
  const std::uint32_t normal = (magnitude - 0x38000000U) >> 13;
  const std::uint32_t finite = magnitude < 0x38800000U ? small : normal;
  return static_cast<std::uint16_t>(sign | (magnitude >= 0x47800000U ? 0x7c00U : finite));
}
MQ_HD inline float through_bf16(float x) {
  const std::uint32_t bits = float_bits(x);
  return bits_float((bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U);
}

// A scale as stored, and whether it left the range of its type.
struct StoredScale {
  float value;
  int range;  // -1: it was not zero and became zero; 1: it exceeded the largest finite value, which it is set to; else 0
};

MQ_HD inline StoredScale store_scale(DType dtype, float scale) {
  float stored = scale;
  float largest = 3.402823466e+38F;
  if (dtype == DType::kF16) {
    stored = through_f16(scale);
    largest = 65504.0F;
  } else if (dtype == DType::kBF16) {
    stored = through_bf16(scale);
    largest = 3.389531390e+38F;  // 0x7f7f
  }
  const float below = stored > largest ? largest : stored;
  const float inside = below < -largest ? -largest : below;
  const int lost = ((stored == 0) & (scale != 0)) ? -1 : 0;
  return {inside, inside != stored ? 1 : lost};
}

// The smallest positive value of a stored type.
MQ_HD inline float smallest_scale(DType dtype) {
  if (dtype == DType::kF16) return 5.9604644775390625e-8F;    // 2^-24
  if (dtype == DType::kBF16) return bits_float(0x00010000U);  // 2^-133
  return bits_float(1U);                                      // 2^-149
}

}  // namespace mpiquant::codec
