#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/hd.h"

// The bodies of the GPU's own kernels, as functors that a grid of blocks runs; device code and a host executor share this source.
// A body has:
//   static constexpr int kThreads        threads of a block
//   struct Private                       what a thread keeps from one phase to the next (registers)
//   BlockGrid grid() const               how many blocks
//   std::size_t shared_bytes() const     memory that the threads of a block share
//   template <typename Block> void operator()(Block& block) const
// The operator's own code is the same for all threads of a block (it may depend on block.x, y and the arguments only). What
// threads do apart is in phases: block.phase(f) calls f(thread, private) for each thread, then all wait for each other. Within a
// phase no thread may read what another one writes.
namespace mpiquant::block {

struct BlockGrid {
  std::int64_t x = 1;  // below 2^31
  std::int64_t y = 1;  // below 2^16
};

// Sixteen bytes that are moved at once.
struct alignas(16) Float4 {
  float x, y, z, w;
};

struct Nothing {};

MQ_HD constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
MQ_HD constexpr std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
MQ_HD constexpr std::int64_t larger(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

// A bfloat16 as its bits.
struct Bf16 {
  std::uint16_t bits;
};

// An IEEE half as its bits.
struct Half {
  std::uint16_t bits;
};

MQ_HD inline float to_float(float x) { return x; }
MQ_HD inline float to_float(Half x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000U) << 16U, magnitude = x.bits & 0x7fffU;
  float out;
  if (magnitude < 0x400U) {  // zero or subnormal: units of 2^-24
    out = static_cast<float>(magnitude) * 5.9604644775390625e-8F;
    return sign != 0 ? -out : out;
  }
  const std::uint32_t bits =
      sign | (magnitude >= 0x7c00U ? 0x7f800000U | (magnitude & 0x3ffU) << 13U : (magnitude << 13U) + 0x38000000U);
  memcpy(&out, &bits, sizeof out);
  return out;
}
MQ_HD inline float to_float(Bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16U;
  float out;
  memcpy(&out, &bits, sizeof out);
  return out;
}
MQ_HD inline void from_float(float x, float& out) { out = x; }
// Ties to even; NaN stays NaN.
MQ_HD inline void from_float(float x, Bf16& out) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffffU) > 0x7f800000U)
    out.bits = static_cast<std::uint16_t>((bits >> 16U) | 0x40U);
  else
    out.bits = static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16U) & 1U)) >> 16U);
}

// Ties to even; beyond the largest half infinity; NaN stays NaN.
MQ_HD inline void from_float(float x, Half& out) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const std::uint32_t sign = bits >> 16U & 0x8000U, magnitude = bits & 0x7fffffffU;
  std::uint32_t half;
  if (magnitude > 0x7f800000U) {
    half = 0x7e00U;
  } else if (magnitude >= 0x477ff000U) {  // 65520
    half = 0x7c00U;
  } else if (magnitude < 0x38800000U) {  // below 2^-14: units of 2^-24
    float value;
    memcpy(&value, &magnitude, sizeof value);
    constexpr float kShift = 12582912.0F;  // 1.5 * 2^23: leaves an integer
    half = static_cast<std::uint32_t>((value * 16777216.0F + kShift) - kShift);
  } else {
    half = (magnitude + 0xfffU + ((magnitude >> 13U) & 1U) - 0x38000000U) >> 13U;
  }
  out.bits = static_cast<std::uint16_t>(sign | half);
}

// Elements of a packed upper triangle, row-major: row r of [cols, cols] begins at packed_row(r, cols) + r for column r.
// With the diagonal, element (r, c) is at packed_row(r, cols) + c - r.
MQ_HD constexpr std::int64_t packed_row(std::int64_t r, std::int64_t cols) { return r * cols - r * (r - 1) / 2; }
// Without the diagonal (Factor::upper), element (j, i > j) is at strict_row(j, cols) + i.
MQ_HD constexpr std::int64_t strict_row(std::int64_t j, std::int64_t cols) { return j * (cols - 1) - j * (j - 1) / 2 - j - 1; }

// op(row, column) for every element of [rows, cols], each of which it may change but none that another call reads.
template <typename Op>
struct ForEachElement {
  static constexpr int kThreads = 256;
  static constexpr int kColumns = 4 * kThreads;  // of a block
  using Private = Nothing;

  Op op;
  std::int64_t rows;
  std::int64_t cols;

  BlockGrid grid() const { return {rows * divide_up(cols, kColumns), 1}; }
  std::size_t shared_bytes() const { return 0; }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    const std::int64_t pieces = divide_up(cols, kColumns), row = block.x / pieces, begin = block.x % pieces * kColumns;
    block.phase([&](int thread, Private&) {
      for (int i = 0; i < kColumns; i += kThreads)
        if (begin + i + thread < cols) op(row, begin + i + thread);
    });
  }
};

}  // namespace mpiquant::block
