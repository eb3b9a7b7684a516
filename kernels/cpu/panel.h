#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"

// A panel holds up to kPartRows rows of a weight matrix transposed: [columns][kPartRows] floats, so that a vector register holds
// the same column of many rows. Rows that do not exist are zero. Nothing here mixes rows.
namespace mpiquant::cpu {

using Lanes = std::array<float, kPartRows>;

// Parameters of one group for each row of a panel.
struct GroupLanes {
  Lanes scale;
  Lanes offset;
  std::array<std::int8_t, kPartRows> range;  // see codec::StoredScale
};

// panel [columns.size()][kPartRows] = the given columns of weight [rows <= kPartRows, cols]. Throws (input error) on a value that
// is not finite.
void load_panel(ConstMatrix weight, std::span<const std::int32_t> columns, float* panel);

// Parameters of a group of n columns.
void fit_columns(const CodecSpec& codec, const float* panel, std::int64_t n, GroupLanes& out);

// Codes of n columns by round to nearest, and loss += squared errors.
void round_columns(const CodecSpec& codec, const float* panel, std::int64_t n, const GroupLanes& group, std::uint8_t* codes,
                   double* loss);

// One column of the sweep: its codes; the column becomes its error e = w - value; loss += e² * weight.
void sweep_column(const CodecSpec& codec, const GroupLanes& group, float* column, std::uint8_t* codes, double weight,
                  double* loss);

// Columns [begin, end) of the panel: w_i = fma(-e_j, U_ji / U_jj, w_i) for j = first … last - 1 in this order, where column j of
// the panel holds e_j. upper: as Factor::upper, of `cols` columns; last <= begin.
void update_columns(std::span<const float> upper, std::int64_t cols, std::int64_t first, std::int64_t last, std::int64_t begin,
                    std::int64_t end, float* panel);

// codes [rows, cols] and params [rows, groups] of the result, and the counts, from a panel's codes [cols][kPartRows] by original
// column.
EncodedRows collect(std::int64_t rows, std::int64_t cols, std::span<const std::uint8_t> codes, std::span<const GroupLanes> groups,
                    std::span<const double> loss);

}  // namespace mpiquant::cpu
