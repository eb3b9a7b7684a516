#pragma once

#include "kernels/block/block.h"

namespace mpiquant::block {

// A row panel of the upper triangle of xᵀx [cols, cols]: rows [begin, end), columns [begin, cols). Panels of kPanelRows rows
// cover the triangle with 1/2 + kPanelRows / (2 cols) of the work of the full product; each is one product of fixed shape.
inline constexpr std::int64_t kPanelRows = 1024;
struct TrianglePanel {
  std::int64_t begin;
  std::int64_t end;
};
inline std::int64_t panel_count(std::int64_t cols) { return divide_up(cols, kPanelRows); }
inline TrianglePanel panel(std::int64_t index, std::int64_t cols) {
  return {index * kPanelRows, smaller((index + 1) * kPanelRows, cols)};
}

// product = xᵀx for the rows [begin, end) and columns [begin, cols) of the triangle, sums in fp32 in the order of the tokens.
// The plain body behind the products of tensor cores.
template <typename Element>
struct PanelProduct {
  static constexpr int kThreads = 256;
  static constexpr int kTile = 32;  // of rows and columns of a block
  static constexpr int kSlab = 32;  // tokens at a time
  static constexpr int kShare = 4;  // elements of a thread
  struct Private {
    float sum[kShare];
  };

  const Element* x;
  std::int64_t ldx;
  std::int64_t tokens;
  std::int64_t begin;
  std::int64_t rows;  // end - begin
  std::int64_t cols;  // cols - begin
  float* product;     // [rows, cols]
  std::int64_t ld;

  BlockGrid grid() const { return {divide_up(cols, kTile), divide_up(rows, kTile)}; }
  std::size_t shared_bytes() const { return 2 * kSlab * kTile * sizeof(Element); }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    Element* left = block.template shared<Element>();  // [kSlab, kTile]
    Element* right = left + kSlab * kTile;
    const std::int64_t row = block.y * kTile, column = block.x * kTile;
    block.phase([&](int, Private& own) {
      for (float& sum : own.sum) sum = 0;
    });
    for (std::int64_t token = 0; token < tokens; token += kSlab) {
      const auto slab = static_cast<int>(smaller(kSlab, tokens - token));
      block.phase([&](int thread, Private&) {
        for (int at = thread; at < slab * kTile; at += kThreads) {
          const int t = at / kTile, i = at % kTile;
          const Element* from = x + (token + t) * ldx + begin;
          from_float(row + i < rows ? to_float(from[row + i]) : 0.0F, left[at]);
          from_float(column + i < cols ? to_float(from[column + i]) : 0.0F, right[at]);
        }
      });
      block.phase([&](int thread, Private& own) {
        const int c = thread % kTile, r = thread / kTile;
        for (int t = 0; t < slab; ++t) {
          const float b = to_float(right[t * kTile + c]);
          MQ_UNROLL
          for (int i = 0; i < kShare; ++i) own.sum[i] = fmaf(to_float(left[t * kTile + r + 8 * i]), b, own.sum[i]);
        }
      });
    }
    block.phase([&](int thread, Private& own) {
      const std::int64_t c = column + thread % kTile, r = row + thread / kTile;
      MQ_UNROLL
      for (int i = 0; i < kShare; ++i)
        if (r + 8 * i < rows && c < cols) product[(r + 8 * i) * ld + c] = own.sum[i];
    });
  }
};

// sum += round(product * scale), ties to even, for the elements of a panel on or above the diagonal. sum: the whole packed
// triangle; scale is a power of two and |product * scale| <= 2^51.
struct AddRoundedOp {
  const float* product;
  std::int64_t ld;
  double scale;
  std::int64_t begin;
  std::int64_t all_cols;
  std::int64_t* sum;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    if (c < r) return;
    constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52: the sum leaves an integer in the low bits of the mantissa
    constexpr std::int64_t kShiftBits = 0x4338000000000000;
    const double shifted = static_cast<double>(product[r * ld + c]) * scale + kShift;
    std::int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    sum[packed_row(begin + r, all_cols) + c - r] += bits - kShiftBits;
  }
};

// out = fp32(sum * scale), one rounding; scale is a power of two.
struct RoundSumOp {
  const std::int64_t* sum;
  double scale;
  float* out;
  MQ_HD void operator()(std::int64_t, std::int64_t i) const {
    // An int64 has more bits than a double: to fp32 first, so that there is one rounding.
    out[i] = static_cast<float>(static_cast<double>(static_cast<float>(sum[i])) * scale);
  }
};

// sums [cols] = Σ over tokens of x² in double, rounded to fp32; x is rounded to Element first, as products see it.
template <typename Element>
struct ColumnSquares {
  static constexpr int kThreads = 256;
  static constexpr int kColumns = 32;  // of a block
  static constexpr int kRows = kThreads / kColumns;
  using Private = Nothing;

  const float* x;
  std::int64_t ldx;
  std::int64_t tokens;
  std::int64_t cols;
  float* sums;

  BlockGrid grid() const { return {divide_up(cols, kColumns), 1}; }
  std::size_t shared_bytes() const { return kThreads * sizeof(double); }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    double* part = block.template shared<double>();  // [kRows, kColumns]
    const std::int64_t first = block.x * kColumns;
    block.phase([&](int thread, Private&) {
      const std::int64_t c = first + thread % kColumns;
      double sum = 0;
      if (c < cols)
        for (std::int64_t t = thread / kColumns; t < tokens; t += kRows) {
          Element seen;
          from_float(x[t * ldx + c], seen);
          const auto value = static_cast<double>(to_float(seen));
          sum += value * value;
        }
      part[thread] = sum;
    });
    block.phase([&](int thread, Private&) {
      if (thread >= kColumns || first + thread >= cols) return;
      double sum = 0;
      for (int r = 0; r < kRows; ++r) sum += part[r * kColumns + thread];
      sums[first + thread] = static_cast<float>(sum);
    });
  }
};

// diagonal [cols] of a packed triangle.
struct DiagonalOp {
  const float* packed;
  std::int64_t cols;
  float* diagonal;
  MQ_HD void operator()(std::int64_t, std::int64_t c) const { diagonal[c] = packed[packed_row(c, cols)]; }
};

// The lower triangle of the Hessian in reversed visiting order, damped, row-major [cols, cols]: its Cholesky factor gives the
// upper factor of the inverse. Real: float or double.
template <typename Real>
struct ReversedHessianOp {
  const float* packed;
  const std::int32_t* visit;
  const double* diagonal;  // by original column, 1 where dead
  double damping;
  std::int64_t cols;
  Real* out;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    if (c > r) return;
    std::int64_t i = visit[cols - 1 - r], j = visit[cols - 1 - c];
    if (r == c) {
      out[r * cols + c] = static_cast<Real>(diagonal[i] + damping);
      return;
    }
    if (i > j) {
      const std::int64_t t = i;
      i = j;
      j = t;
    }
    out[r * cols + c] = static_cast<Real>(packed[packed_row(i, cols) + j - i]);
  }
};

// pivots [cols] = the diagonal of L.
template <typename Real>
struct PivotOp {
  const Real* lower;
  std::int64_t cols;
  Real* pivots;
  MQ_HD void operator()(std::int64_t, std::int64_t r) const { pivots[r] = lower[r * cols + r]; }
};

// Factor::upper and diagonal from X = L⁻¹ (lower, row-major): U_ji = X at row n-1-j, column n-1-i.
template <typename Real>
struct FactorOp {
  const Real* inverse;
  const Real* pivots;
  std::int64_t cols;
  float* upper;
  float* diagonal;
  MQ_HD void operator()(std::int64_t r, std::int64_t c) const {
    const std::int64_t j = cols - 1 - r, i = cols - 1 - c;
    if (i > j) upper[strict_row(j, cols) + i] = static_cast<float>(inverse[r * cols + c] * pivots[r]);
    if (i == j) diagonal[j] = static_cast<float>(Real{1} / pivots[r]);
  }
};

}  // namespace mpiquant::block
