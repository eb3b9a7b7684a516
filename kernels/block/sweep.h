#pragma once

#include "kernels/block/block.h"
#include "kernels/codec/grid.h"

// The column sweep of GPTQ. A panel holds the rows of a weight matrix transposed, in visiting order: [cols][ldp] floats, ldp >=
// rows. After step j every weight not yet visited becomes fma(-e_j, U_ji / U_jj, w): the same chain as on the CPU, whatever the
// blocks, so the codes are the same.
namespace mpiquant::block {

inline constexpr std::int64_t kSweepColumns = 128;  // of an outer block

// Where the outer block from `begin` ends: a live group that does not fit begins the next block, because its parameters need
// weights that all earlier errors have reached. live_group: 0 when parameters come from the original weights.
inline std::int64_t sweep_block_end(std::int64_t begin, std::int64_t cols, std::int64_t live_group) {
  const std::int64_t end = smaller(begin + kSweepColumns, cols);
  if (live_group == 0 || end == cols || end % live_group == 0) return end;
  const std::int64_t start = end - end % live_group;  // of the group that end cuts
  return start > begin ? start : end;
}

// panel = weight [rows, cols] transposed, its columns in visiting order; dead columns are zero.
struct MakePanel {
  static constexpr int kThreads = 256;
  static constexpr int kTile = 32;
  static constexpr int kLd = kTile + 1;
  using Private = Nothing;

  const float* weight;
  std::int64_t ldw;
  std::int64_t rows;
  std::int64_t cols;
  const std::int32_t* visit;
  const std::uint8_t* dead;  // by original column
  float* panel;
  std::int64_t ldp;

  BlockGrid grid() const { return {divide_up(cols, kTile), divide_up(rows, kTile)}; }
  std::size_t shared_bytes() const { return kTile * kLd * sizeof(float); }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    float* tile = block.template shared<float>();  // [rows][kLd]
    const std::int64_t first = block.x * kTile, row = block.y * kTile;
    block.phase([&](int thread, Private&) {
      const std::int64_t j = first + thread % kTile;
      for (int r = thread / kTile; r < kTile; r += kThreads / kTile) {
        if (j >= cols || row + r >= rows) continue;
        const std::int32_t column = visit[j];
        tile[r * kLd + thread % kTile] = dead[column] != 0 ? 0.0F : weight[(row + r) * ldw + column];
      }
    });
    block.phase([&](int thread, Private&) {
      const std::int64_t r = thread % kTile;
      for (int j = thread / kTile; j < kTile; j += kThreads / kTile)
        if (first + j < cols && row + r < rows) panel[(first + j) * ldp + row + r] = tile[r * kLd + j];
    });
  }
};

// One outer block of columns [begin, end): codes, parameters of live groups, loss; the columns of the panel become their errors.
// A thread has a row, so rows never wait for each other.
template <typename Grid>
struct SweepBlock {
  static constexpr int kThreads = 64;  // rows of a block
  static constexpr int kInner = 16;    // columns whose weights are in registers
  using Private = Nothing;

  Grid grid_type;
  float* panel;
  std::int64_t ldp;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t begin;
  std::int64_t end;
  const std::int32_t* visit;
  const float* diagonal;
  const float* upper;
  std::int64_t group;
  bool live;            // parameters of a group come from the weights when its first column is visited
  GroupParams* params;  // [groups][rows]
  std::int8_t* range;   // [groups][rows]
  std::uint8_t* codes;  // [cols by original column][rows]
  double* loss;         // [rows]

  BlockGrid grid() const { return {divide_up(rows, kThreads), 1}; }
  std::size_t shared_bytes() const {
    return static_cast<std::size_t>((end - begin) * ((end - begin) + kThreads)) * sizeof(float);
  }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    const std::int64_t width = end - begin, first_row = block.x * kThreads;
    float* tile = block.template shared<float>();  // [width][kThreads]
    float* factors = tile + width * kThreads;      // [width][width] U_ji / U_jj, i > j
    block.phase([&](int thread, Private&) {
      for (std::int64_t j = 0; j < width; ++j) {
        if (first_row + thread < rows) tile[j * kThreads + thread] = panel[(begin + j) * ldp + first_row + thread];
        for (std::int64_t i = j + 1 + thread; i < width; i += kThreads)
          factors[j * width + i] = upper[strict_row(begin + j, cols) + begin + i];
      }
    });
    block.phase([&](int thread, Private&) {
      if (first_row + thread < rows) sweep_row(first_row + thread, tile + thread, factors);
    });
    block.phase([&](int thread, Private&) {
      if (first_row + thread >= rows) return;
      for (std::int64_t j = 0; j < width; ++j) panel[(begin + j) * ldp + first_row + thread] = tile[j * kThreads + thread];
    });
  }

 private:
  MQ_HD void fit(std::int64_t j, std::int64_t row, const float* own) const {
    const std::int64_t n = smaller(group, cols - j);
    // A group that goes beyond the block begins with it; its weights in the panel are those of the tile still.
    const codec::Fitted fitted = j + n <= end ? codec::fit_group(grid_type, own + (j - begin) * kThreads, n, kThreads)
                                              : codec::fit_group(grid_type, panel + j * ldp + row, n, ldp);
    params[j / group * rows + row] = fitted.params;
    range[j / group * rows + row] = static_cast<std::int8_t>(fitted.range);
  }

  // own: this row's column of the tile.
  MQ_HD void sweep_row(std::int64_t row, float* own, const float* factors) const {
    const std::int64_t width = end - begin;
    double lost = loss[row];
    for (std::int64_t inner = begin; inner < end;) {
      const std::int64_t next_group = live ? inner - inner % group + group : end;
      const auto n = static_cast<int>(smaller(smaller(inner + kInner, end), next_group) - inner);
      if (live && inner % group == 0) fit(inner, row, own);
      float w[kInner] = {};
      GroupParams p[kInner];
      MQ_UNROLL
      for (int c = 0; c < kInner; ++c) {
        if (c >= n) continue;
        w[c] = own[(inner - begin + c) * kThreads];
        p[c] = params[(live ? inner + c : visit[inner + c]) / group * rows + row];
      }
      MQ_UNROLL
      for (int c = 0; c < kInner; ++c) {
        if (c >= n) continue;
        const float q = grid_type.code(w[c], p[c]);
        const float error = w[c] - grid_type.value(q, p[c]);
        codes[visit[inner + c] * rows + row] = static_cast<std::uint8_t>(static_cast<std::int32_t>(q));
        const auto pivot = static_cast<double>(diagonal[inner + c]);
        lost += static_cast<double>(error) * static_cast<double>(error) * (0.5 / (pivot * pivot));
        w[c] = error;
        own[(inner - begin + c) * kThreads] = error;
        const float* u = factors + (inner - begin + c) * width + (inner - begin);
        MQ_UNROLL
        for (int d = c + 1; d < kInner; ++d)
          if (d < n) w[d] = fmaf(-error, u[d], w[d]);
      }
      for (std::int64_t i = inner - begin + n; i < width; ++i) {
        float weight = own[i * kThreads];
        MQ_UNROLL
        for (int c = 0; c < kInner; ++c)
          if (c < n) weight = fmaf(-w[c], factors[(inner - begin + c) * width + i], weight);
        own[i * kThreads] = weight;
      }
      inner += n;
    }
    loss[row] = lost;
  }
};

// Columns [end, cols) of the panel after the outer block [begin, end), whose columns hold errors: w_i = fma(-e_j, U_ji / U_jj,
// w_i) for j = begin … end - 1 in this order. A block has 128 rows by 128 columns, a thread 8 by 8 of them in registers.
struct SweepUpdate {
  static constexpr int kThreads = 256;
  static constexpr int kTile = 128;
  static constexpr int kSlab = 16;  // errors at a time
  struct Private {
    float sum[8][8];  // [column][row]
  };

  float* panel;
  std::int64_t ldp;
  std::int64_t rows;
  std::int64_t cols;
  std::int64_t begin;
  std::int64_t end;
  const float* upper;

  BlockGrid grid() const { return {divide_up(cols - end, kTile), divide_up(rows, kTile)}; }
  std::size_t shared_bytes() const { return 2 * kSlab * kTile * sizeof(float); }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    float* errors = block.template shared<float>();  // [kSlab][kTile rows]
    float* factors = errors + kSlab * kTile;         // [kSlab][kTile columns]
    const std::int64_t row = block.y * kTile, column = end + block.x * kTile;
    block.phase([&](int thread, Private& own) {
      MQ_UNROLL
      for (int c = 0; c < 8; ++c) MQ_UNROLL
      for (int r = 0; r < 8; ++r) {
        const std::int64_t i = column + place(thread / 16, c), at = row + place(thread % 16, r);
        own.sum[c][r] = i < cols && at < rows ? panel[i * ldp + at] : 0.0F;
      }
    });
    for (std::int64_t first = begin; first < end; first += kSlab) {
      const auto slab = static_cast<int>(smaller(kSlab, end - first));
      block.phase([&](int thread, Private&) {
        const std::int64_t lane = thread % kTile;
        for (int j = thread / kTile; j < slab; j += kThreads / kTile) {
          errors[j * kTile + lane] = row + lane < rows ? panel[(first + j) * ldp + row + lane] : 0.0F;
          factors[j * kTile + lane] = column + lane < cols ? upper[strict_row(first + j, cols) + column + lane] : 0.0F;
        }
      });
      block.phase([&](int thread, Private& own) {
        for (int j = 0; j < slab; ++j) {
          float e[8], u[8];
          read(errors + j * kTile, thread % 16, e);
          read(factors + j * kTile, thread / 16, u);
          MQ_UNROLL
          for (int c = 0; c < 8; ++c) MQ_UNROLL
          for (int r = 0; r < 8; ++r) own.sum[c][r] = fmaf(-e[r], u[c], own.sum[c][r]);
        }
      });
    }
    block.phase([&](int thread, Private& own) {
      MQ_UNROLL
      for (int c = 0; c < 8; ++c) MQ_UNROLL
      for (int r = 0; r < 8; ++r) {
        const std::int64_t i = column + place(thread / 16, c), at = row + place(thread % 16, r);
        if (i < cols && at < rows) panel[i * ldp + at] = own.sum[c][r];
      }
    });
  }

 private:
  // A thread's eight places: four neighbours in each half of the tile.
  MQ_HD static int place(int share, int i) { return i / 4 * (kTile / 2) + share * 4 + i % 4; }
  MQ_HD static void read(const float* from, int share, float* out) {
    MQ_UNROLL
    for (int half = 0; half < 2; ++half) {
      const Float4 four = *reinterpret_cast<const Float4*>(from + half * (kTile / 2) + share * 4);
      out[half * 4] = four.x;
      out[half * 4 + 1] = four.y;
      out[half * 4 + 2] = four.z;
      out[half * 4 + 3] = four.w;
    }
  }
};

// out [rows, cols] = in [cols][rows], bytes.
struct TransposeBytes {
  static constexpr int kThreads = 256;
  static constexpr int kTile = 64;
  static constexpr int kLd = kTile + 4;
  using Private = Nothing;

  const std::uint8_t* in;
  std::int64_t rows;
  std::int64_t cols;
  std::uint8_t* out;

  BlockGrid grid() const { return {divide_up(cols, kTile), divide_up(rows, kTile)}; }
  std::size_t shared_bytes() const { return kTile * kLd; }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    std::uint8_t* tile = block.template shared<std::uint8_t>();  // [columns][kLd]
    const std::int64_t column = block.x * kTile, row = block.y * kTile;
    block.phase([&](int thread, Private&) {
      const std::int64_t r = thread % kTile;
      for (int c = thread / kTile; c < kTile; c += kThreads / kTile)
        if (row + r < rows && column + c < cols) tile[c * kLd + r] = in[(column + c) * rows + row + r];
    });
    block.phase([&](int thread, Private&) {
      const std::int64_t c = thread % kTile;
      for (int r = thread / kTile; r < kTile; r += kThreads / kTile)
        if (row + r < rows && column + c < cols) out[(row + r) * cols + column + c] = tile[c * kLd + r];
    });
  }
};

}  // namespace mpiquant::block
