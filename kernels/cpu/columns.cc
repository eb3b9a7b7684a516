// The vector code of panels: loops over the rows of a panel, which are independent.
#include <cmath>
#include <cstdint>

#include "kernels/codec/grids.h"
#include "kernels/cpu/panel.h"

#define MQ_INLINE [[gnu::always_inline]] inline

namespace mpiquant::cpu {
namespace {

using codec::Extent;
using codec::Fitted;

struct Extents {
  Lanes low, high, peak;

  Extent at(std::size_t r) const { return {low[r], high[r], peak[r]}; }
};

MQ_INLINE void see_columns(const float* panel, std::int64_t n, Extents& out) {
  for (std::size_t r = 0; r < kPartRows; ++r) {
    const Extent none;
    out.low[r] = none.low;
    out.high[r] = none.high;
    out.peak[r] = none.peak;
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const float* column = panel + i * kPartRows;
    for (std::size_t r = 0; r < kPartRows; ++r) {
      Extent extent = out.at(r);
      extent.see(column[r]);
      out.low[r] = extent.low;
      out.high[r] = extent.high;
      out.peak[r] = extent.peak;
    }
  }
}

MQ_INLINE void put(GroupLanes& group, std::size_t r, const Fitted& fitted) {
  group.scale[r] = fitted.params.scale;
  group.offset[r] = fitted.params.offset;
  group.range[r] = static_cast<std::int8_t>(fitted.range);
}

// Follows codec::fit_group for all rows of the panel at once.
template <typename Grid>
MQ_INLINE void fit_lanes(const Grid& grid, const float* panel, std::int64_t n, GroupLanes& out) {
  Extents extents;
  see_columns(panel, n, extents);
  for (std::size_t r = 0; r < kPartRows; ++r) put(out, r, grid.fit(extents.at(r), 0));
  if (grid.candidates() == 1) return;
  GroupLanes candidate_lanes;
  Lanes unit, least, error;
  for (std::size_t r = 0; r < kPartRows; ++r) {
    unit[r] = codec::error_unit(extents.at(r));
    least[r] = 3.402823466e+38F;
  }
  for (int candidate = 0; candidate < grid.candidates(); ++candidate) {
    for (std::size_t r = 0; r < kPartRows; ++r) put(candidate_lanes, r, grid.fit(extents.at(r), candidate));
    error.fill(0);
    for (std::int64_t i = 0; i < n; ++i) {
      const float* column = panel + i * kPartRows;
      for (std::size_t r = 0; r < kPartRows; ++r) {
        const GroupParams params{candidate_lanes.scale[r], candidate_lanes.offset[r]};
        const float w = column[r];
        error[r] += codec::power_2_4((grid.value(grid.code(w, params), params) - w) * unit[r]);
      }
    }
    for (std::size_t r = 0; r < kPartRows; ++r)
      if (error[r] < least[r]) {
        least[r] = error[r];
        out.scale[r] = candidate_lanes.scale[r];
        out.offset[r] = candidate_lanes.offset[r];
        out.range[r] = candidate_lanes.range[r];
      }
  }
}

template <typename Grid>
MQ_INLINE void round_lanes(const Grid& grid, const float* panel, std::int64_t n, const GroupLanes& group, std::uint8_t* codes,
                           double* loss) {
  Extents extents;
  see_columns(panel, n, extents);
  Lanes factor, offset;
  for (std::size_t r = 0; r < kPartRows; ++r) {
    const codec::Rounder rounder = grid.rounder(extents.at(r), {group.scale[r], group.offset[r]});
    factor[r] = rounder.factor;
    offset[r] = rounder.offset;
  }
  for (std::int64_t i = 0; i < n; ++i)
    for (std::size_t r = 0; r < kPartRows; ++r) {
      const std::size_t at = static_cast<std::size_t>(i * kPartRows) + r;
      const float q = grid.rtn_code(panel[at], {factor[r], offset[r]});
      const double error = static_cast<double>(panel[at]) - static_cast<double>(grid.value(q, {group.scale[r], group.offset[r]}));
      codes[at] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
      loss[r] += error * error;
    }
}

template <typename Grid>
MQ_INLINE void sweep_lanes(const Grid& grid, const GroupLanes& group, float* column, std::uint8_t* codes, double weight,
                           double* loss) {
  for (std::size_t r = 0; r < kPartRows; ++r) {
    const GroupParams params{group.scale[r], group.offset[r]};
    const float q = grid.code(column[r], params);
    const float error = column[r] - grid.value(q, params);
    codes[r] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
    column[r] = error;
    loss[r] += static_cast<double>(error) * static_cast<double>(error) * weight;
  }
}

// `Columns` columns of the panel by kRegisterRows rows stay in registers while all errors pass by.
constexpr std::int64_t kRegisterRows = 32;

template <int Columns>
MQ_INLINE void update_tile(const float* upper, std::int64_t cols, std::int64_t first, std::int64_t last, std::int64_t column,
                           std::int64_t lane, float* panel) {
  float sum[Columns][kRegisterRows];
  float* target = panel + column * kPartRows + lane;
  for (int c = 0; c < Columns; ++c)
    for (std::int64_t r = 0; r < kRegisterRows; ++r) sum[c][r] = target[c * kPartRows + r];
  std::int64_t row = first * (cols - 1) - first * (first - 1) / 2 - first - 1;  // upper[row + i] belongs to step j and column i
  for (std::int64_t j = first; j < last; ++j) {
    const float* error = panel + j * kPartRows + lane;
    const float* u = upper + (row + column);
    for (int c = 0; c < Columns; ++c)
      for (std::int64_t r = 0; r < kRegisterRows; ++r) sum[c][r] = std::fma(-error[r], u[c], sum[c][r]);
    row += cols - 2 - j;
  }
  for (int c = 0; c < Columns; ++c)
    for (std::int64_t r = 0; r < kRegisterRows; ++r) target[c * kPartRows + r] = sum[c][r];
}

}  // namespace

MPIQUANT_MULTIVERSION void fit_columns(const CodecSpec& codec, const float* panel, std::int64_t n, GroupLanes& out) {
  codec::with_grid(
      codec, [&](const auto& grid) __attribute__((always_inline)) { fit_lanes(grid, panel, n, out); });
}

MPIQUANT_MULTIVERSION void round_columns(const CodecSpec& codec, const float* panel, std::int64_t n, const GroupLanes& group,
                                         std::uint8_t* codes, double* loss) {
  codec::with_grid(
      codec, [&](const auto& grid) __attribute__((always_inline)) { round_lanes(grid, panel, n, group, codes, loss); });
}

MPIQUANT_MULTIVERSION void sweep_column(const CodecSpec& codec, const GroupLanes& group, float* column, std::uint8_t* codes,
                                        double weight, double* loss) {
  codec::with_grid(
      codec, [&](const auto& grid) __attribute__((always_inline)) { sweep_lanes(grid, group, column, codes, weight, loss); });
}

MPIQUANT_MULTIVERSION void update_columns(std::span<const float> upper, std::int64_t cols, std::int64_t first, std::int64_t last,
                                          std::int64_t begin, std::int64_t end, float* panel) {
  constexpr int kColumns = 8;
  std::int64_t column = begin;
  for (; column + kColumns <= end; column += kColumns)
    for (std::int64_t lane = 0; lane < kPartRows; lane += kRegisterRows)
      update_tile<kColumns>(upper.data(), cols, first, last, column, lane, panel);
  for (; column < end; ++column)
    for (std::int64_t lane = 0; lane < kPartRows; lane += kRegisterRows)
      update_tile<1>(upper.data(), cols, first, last, column, lane, panel);
}

}  // namespace mpiquant::cpu
