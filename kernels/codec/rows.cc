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

// a becomes the smaller or the larger of a and b, lane by lane.
struct Smaller {
  template <typename Vector>
  MQ_INLINE static void keep(Vector& a, const Vector& b) {
    a = b < a ? b : a;
  }
};
struct Larger {
  template <typename Vector>
  MQ_INLINE static void keep(Vector& a, const Vector& b) {
    a = b > a ? b : a;
  }
};

// The lanes of x, a fourth as many.
template <typename Pick>
MQ_INLINE void quarter(const Vector16& x, Vector4& out) {
  Vector8 half = __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
  Pick::keep(half, __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15));
  out = __builtin_shufflevector(half, half, 0, 1, 2, 3);
  Pick::keep(out, __builtin_shufflevector(half, half, 4, 5, 6, 7));
}

// One lane of each of four vectors.
template <typename Pick>
MQ_INLINE void one_of_each(const Vector4* x, Vector4& out) {
  Vector4 first = __builtin_shufflevector(x[0], x[1], 0, 1, 4, 5), second = __builtin_shufflevector(x[2], x[3], 0, 1, 4, 5);
  Pick::keep(first, __builtin_shufflevector(x[0], x[1], 2, 3, 6, 7));
  Pick::keep(second, __builtin_shufflevector(x[2], x[3], 2, 3, 6, 7));
  out = __builtin_shufflevector(first, second, 0, 2, 4, 6);
  Pick::keep(out, __builtin_shufflevector(first, second, 1, 3, 5, 7));
}

// The extent of x [n] from its smallest and largest value, as Extent::see gives it in column order. Only the signs of zeros and
// of equal magnitudes depend on the order.
MQ_INLINE Extent extent_from(float low, float high, const float* x, std::int64_t n) {
  Extent extent;
  if (low != 0 && high != 0 && low != -high) {
    extent.low = low;
    extent.high = high;
    extent.peak = high > -low ? high : low;
  } else {
    for (std::int64_t i = 0; i < n; ++i) extent.see(x[i]);
  }
  return extent;
}

MQ_INLINE Extent extent_of(const float* x, std::int64_t n) {
  Extent range;
  std::int64_t i = 0;
  if (n >= kLanes) {
    Vector16 low, high, next;
    std::memcpy(&low, x, sizeof low);
    high = low;
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      std::memcpy(&next, x + i, sizeof next);
      Smaller::keep(low, next);
      Larger::keep(high, next);
    }
    Vector4 low4, high4;
    quarter<Smaller>(low, low4);
    quarter<Larger>(high, high4);
    range.low = std::min(std::min(low4[0], low4[1]), std::min(low4[2], low4[3]));
    range.high = std::max(std::max(high4[0], high4[1]), std::max(high4[2], high4[3]));
  }
  for (; i < n; ++i) {
    range.low = x[i] < range.low ? x[i] : range.low;
    range.high = x[i] > range.high ? x[i] : range.high;
  }
  return extent_from(range.low, range.high, x, n);
}

// Codes of x [n] and what they miss it by.
template <typename Grid>
MQ_INLINE void round_values(const Grid& grid, const Rounder& rounder, const GroupParams& params, const float* x, std::int64_t n,
                            std::uint8_t* codes, LossLanes& loss) {
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

template <typename Grid>
MQ_INLINE void round_group(const Grid& grid, const float* x, std::int64_t n, std::uint8_t* codes, GroupParams& out,
                           RowError& error, LossLanes& loss) {
  const Extent extent = extent_of(x, n);
  const Fitted fitted = grid.fit(extent, 0);
  out = fitted.params;
  error.scale_underflows += fitted.range < 0 ? 1 : 0;
  error.scale_overflows += fitted.range > 0 ? 1 : 0;
  round_values(grid, grid.rounder(extent, fitted.params), fitted.params, x, n, codes, loss);
}

constexpr std::int64_t kBlock = 32;  // columns of a group of the ggml codecs
constexpr std::size_t kBatch = 16;   // such groups whose parameters are made together, a group in a lane

template <typename Grid>
MQ_INLINE void round_batch(const Grid& grid, const float* x, std::uint8_t* codes, GroupParams* params, RowError& error,
                           LossLanes& loss) {
  std::array<Vector4, kBatch> low, high;
  for (std::size_t b = 0; b < kBatch; ++b) {
    Vector16 small, large, second;
    std::memcpy(&small, x + b * kBlock, sizeof small);
    std::memcpy(&second, x + b * kBlock + kLanes, sizeof second);
    large = small;
    Smaller::keep(small, second);
    Larger::keep(large, second);
    quarter<Smaller>(small, low[b]);
    quarter<Larger>(large, high[b]);
  }
  std::array<float, kBatch> lows, highs, peaks;
  for (std::size_t b = 0; b < kBatch; b += 4) {
    Vector4 low4, high4;
    one_of_each<Smaller>(&low[b], low4);
    one_of_each<Larger>(&high[b], high4);
    std::memcpy(&lows[b], &low4, sizeof low4);
    std::memcpy(&highs[b], &high4, sizeof high4);
  }
  int unclear = 0;  // groups whose extent depends on the order of the values
  for (std::size_t b = 0; b < kBatch; ++b) {
    peaks[b] = highs[b] > -lows[b] ? highs[b] : lows[b];
    unclear += lows[b] == 0 || highs[b] == 0 || lows[b] == -highs[b] ? 1 : 0;
  }
  if (unclear != 0)
    for (std::size_t b = 0; b < kBatch; ++b) {
      const Extent extent = extent_from(lows[b], highs[b], x + b * kBlock, kBlock);
      lows[b] = extent.low;
      highs[b] = extent.high;
      peaks[b] = extent.peak;
    }
  std::array<float, kBatch> scales, offsets, factors, shifts;
  std::array<std::int32_t, kBatch> ranges;
  for (std::size_t b = 0; b < kBatch; ++b) {
    const Extent extent{lows[b], highs[b], peaks[b]};
    const Fitted fitted = grid.fit(extent, 0);
    const Rounder rounder = grid.rounder(extent, fitted.params);
    scales[b] = fitted.params.scale;
    offsets[b] = fitted.params.offset;
    ranges[b] = fitted.range;
    factors[b] = rounder.factor;
    shifts[b] = rounder.offset;
  }
  for (std::size_t b = 0; b < kBatch; ++b) {
    params[b] = {scales[b], offsets[b]};
    error.scale_underflows += ranges[b] < 0 ? 1 : 0;
    error.scale_overflows += ranges[b] > 0 ? 1 : 0;
    round_values(grid, {factors[b], shifts[b]}, params[b], x + b * kBlock, kBlock, codes + b * kBlock, loss);
  }
}

MPIQUANT_MULTIVERSION RowError round_groups(const CodecSpec& codec, const float* x, std::int64_t cols, std::uint8_t* codes,
                                            GroupParams* params) {
  RowError error;
  LossLanes loss{};
  const std::int64_t group = codec.group_of(cols);
  with_grid(
      codec, [&](const auto& grid) __attribute__((always_inline)) {
        std::int64_t first = 0;
        constexpr auto kColumns = static_cast<std::int64_t>(kBatch) * kBlock;
        if (group == kBlock)
          for (; first + kColumns <= cols; first += kColumns, params += kBatch)
            round_batch(grid, x + first, codes + first, params, error, loss);
        for (; first < cols; first += group)
          round_group(grid, x + first, std::min(group, cols - first), codes + first, *params++, error, loss);
      });
  for (std::size_t width = kLanes / 2; width > 0; width /= 2)
    for (std::size_t l = 0; l < width; ++l) loss[l] += loss[l + width];
  error.loss = loss[0];
  return error;
}

MQ_INLINE std::uint32_t not_finite(std::uint32_t bits) { return (bits & 0x7f800000U) == 0x7f800000U ? 1U : 0U; }

MPIQUANT_MULTIVERSION bool finite(const float* x, std::size_t n) {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) bad |= not_finite(float_bits(x[i]));
  return bad == 0;
}

MPIQUANT_MULTIVERSION bool widen(const std::byte* stored, float* out, std::size_t n) {
  std::uint32_t bad = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t half;
    std::memcpy(&half, stored + i * sizeof half, sizeof half);
    const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16U;
    out[i] = bits_float(bits);
    bad |= not_finite(bits);
  }
  return bad == 0;
}

}  // namespace

bool all_finite(std::span<const float> x) { return finite(x.data(), x.size()); }

bool load_finite(DType dtype, std::span<const std::byte> stored, std::span<float> out) {
  if (dtype == DType::kBF16) {
    expect(stored.size() == out.size() * sizeof(std::uint16_t), "{} bytes for {} values", stored.size(), out.size());
    return widen(stored.data(), out.data(), out.size());
  }
  to_f32(dtype, stored, out);
  return all_finite(out);
}

RowError round_row(const CodecSpec& codec, std::span<const float> x, std::span<std::uint8_t> codes,
                   std::span<GroupParams> params) {
  const auto cols = static_cast<std::int64_t>(x.size());
  expect(!codec.mse && codes.size() == x.size() && static_cast<std::int64_t>(params.size()) == codec.groups(cols),
         "rounding {} values to {} codes and {} groups", x.size(), codes.size(), params.size());
  return round_groups(codec, x.data(), cols, codes.data(), params.data());
}

}  // namespace mpiquant::codec
