// Vector code over the columns of a row.
#include "kernels/codec/rows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/codec/grids.h"
#include "src/base/error.h"

#define MQ_INLINE [[gnu::always_inline]] inline

namespace mpiquant::codec {
namespace {

// Errors are summed in this many lanes, by column, so that every vector width adds in the same order.
constexpr std::int64_t kLanes = 16;
using LossLanes = std::array<double, kLanes>;

// Vectors as the compiler knows them, of whatever registers there are. Of two values the second is kept when it is smaller or
// larger.
using Vector16 = float __attribute__((vector_size(64)));
using Vector8 = float __attribute__((vector_size(32)));
using Vector4 = float __attribute__((vector_size(16)));

// The smallest and the largest of the lanes.
struct Range {
  float low, high;
};
MQ_INLINE Range range_of(const Vector16& low, const Vector16& high) {
  const auto low_a = __builtin_shufflevector(low, low, 0, 1, 2, 3, 4, 5, 6, 7);
  const auto low_b = __builtin_shufflevector(low, low, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto high_a = __builtin_shufflevector(high, high, 0, 1, 2, 3, 4, 5, 6, 7);
  const auto high_b = __builtin_shufflevector(high, high, 8, 9, 10, 11, 12, 13, 14, 15);
  const Vector8 low8 = low_b < low_a ? low_b : low_a;
  const Vector8 high8 = high_b > high_a ? high_b : high_a;
  const auto low_c = __builtin_shufflevector(low8, low8, 0, 1, 2, 3), low_d = __builtin_shufflevector(low8, low8, 4, 5, 6, 7);
  const auto high_c = __builtin_shufflevector(high8, high8, 0, 1, 2, 3),
             high_d = __builtin_shufflevector(high8, high8, 4, 5, 6, 7);
  Vector4 low4 = low_d < low_c ? low_d : low_c;
  Vector4 high4 = high_d > high_c ? high_d : high_c;
  Vector4 low_e = __builtin_shufflevector(low4, low4, 2, 3, 0, 1), high_e = __builtin_shufflevector(high4, high4, 2, 3, 0, 1);
  low4 = low_e < low4 ? low_e : low4;
  high4 = high_e > high4 ? high_e : high4;
  low_e = __builtin_shufflevector(low4, low4, 1, 0, 3, 2);
  high_e = __builtin_shufflevector(high4, high4, 1, 0, 3, 2);
  low4 = low_e < low4 ? low_e : low4;
  high4 = high_e > high4 ? high_e : high4;
  return {low4[0], high4[0]};
}

// The extent of x [n] as Extent::see gives it in column order. Only the signs of zeros and of equal magnitudes depend on the
// order.
MQ_INLINE Extent extent_of(const float* x, std::int64_t n) {
  Extent extent;
  Range range{extent.low, extent.high};
  std::int64_t i = 0;
  if (n >= kLanes) {
    Vector16 low, high, next;
    std::memcpy(&low, x, sizeof low);
    high = low;
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      std::memcpy(&next, x + i, sizeof next);
      low = next < low ? next : low;
      high = next > high ? next : high;
    }
    range = range_of(low, high);
  }
  for (; i < n; ++i) {
    range.low = x[i] < range.low ? x[i] : range.low;
    range.high = x[i] > range.high ? x[i] : range.high;
  }
  if (range.low != 0 && range.high != 0 && range.low != -range.high) {
    extent.low = range.low;
    extent.high = range.high;
    extent.peak = range.high > -range.low ? range.high : range.low;
  } else {
    for (i = 0; i < n; ++i) extent.see(x[i]);
  }
  return extent;
}

template <typename Grid>
MQ_INLINE void round_group(const Grid& grid, const float* x, std::int64_t n, std::uint8_t* codes, GroupParams& out,
                           RowError& error, LossLanes& loss) {
  const Extent extent = extent_of(x, n);
  const Fitted fitted = grid.fit(extent, 0);
  const GroupParams params = fitted.params;
  const Rounder rounder = grid.rounder(extent, params);
  out = params;
  error.scale_underflows += fitted.range < 0 ? 1 : 0;
  error.scale_overflows += fitted.range > 0 ? 1 : 0;
  constexpr std::int64_t kStep = 2 * kLanes;
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const float* const from = x + i;
    std::uint8_t* const to = codes + i;
    std::array<float, kStep> q;
    std::array<float, kStep> e;
    for (std::size_t l = 0; l < kStep; ++l) q[l] = grid.rtn_code(from[l], rounder);
    for (std::size_t l = 0; l < kStep; ++l) to[l] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q[l]));
    for (std::size_t l = 0; l < kStep; ++l) e[l] = from[l] - grid.value(q[l], params);
    for (std::size_t l = 0; l < kStep; ++l) e[l] *= e[l];
    for (std::size_t l = 0; l < kLanes; ++l) e[l] += e[l + kLanes];
    for (std::size_t l = 0; l < kLanes; ++l) loss[l] += static_cast<double>(e[l]);
  }
  for (; i < n; ++i) {
    const float q = grid.rtn_code(x[i], rounder);
    const float e = x[i] - grid.value(q, params);
    codes[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
    loss[static_cast<std::size_t>(i % kLanes)] += static_cast<double>(e * e);
  }
}

constexpr std::int64_t kBlock = 32;  // columns of a group of the ggml codecs

MPIQUANT_MULTIVERSION RowError round_groups(const CodecSpec& codec, const float* x, std::int64_t cols, std::uint8_t* codes,
                                            GroupParams* params) {
  RowError error;
  LossLanes loss{};
  const std::int64_t group = codec.group_of(cols);
  with_grid(
      codec, [&](const auto& grid) __attribute__((always_inline)) {
        std::int64_t first = 0;
        if (group == kBlock)  // unrolled
          for (; first + kBlock <= cols; first += kBlock)
            round_group(grid, x + first, kBlock, codes + first, *params++, error, loss);
        for (; first < cols; first += group)
          round_group(grid, x + first, std::min(group, cols - first), codes + first, *params++, error, loss);
      });
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t l = 0; l < width; ++l) loss[l] += loss[l + width];
  error.loss = loss[0];
  return error;
}

MPIQUANT_MULTIVERSION bool finite(const float* x, std::size_t n) {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad |= (float_bits(x[i]) & 0x7f800000U) == 0x7f800000U ? 1U : 0U;
  return bad == 0;
}

}  // namespace

bool all_finite(std::span<const float> x) { return finite(x.data(), x.size()); }

RowError round_row(const CodecSpec& codec, std::span<const float> x, std::span<std::uint8_t> codes,
                   std::span<GroupParams> params) {
  const auto cols = static_cast<std::int64_t>(x.size());
  expect(!codec.mse && codes.size() == x.size() && static_cast<std::int64_t>(params.size()) == codec.groups(cols),
         "rounding {} values to {} codes and {} groups", x.size(), codes.size(), params.size());
  return round_groups(codec, x.data(), cols, codes.data(), params.data());
}

}  // namespace mpiquant::codec
