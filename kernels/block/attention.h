#pragma once

#include <cmath>

#include "kernels/block/block.h"

namespace mpiquant::block {

// Products of tiles in shared memory, shared out over the threads of a block. kernels/cuda/tensor_tiles.cuh does the same on
// tensor cores, where rows, cols and depth must be multiples of 16 and leading dimensions of 8.
struct PlainTiles {
  // c [rows, cols] = a [rows, depth] · b [cols, depth]ᵀ
  template <int kThreads, typename Element>
  MQ_HD static void multiply_transposed(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc,
                                        int rows, int cols, int depth) {
    for (int at = thread; at < rows * cols; at += kThreads) {
      const int r = at / cols, s = at % cols;
      float sum = 0;
      for (int d = 0; d < depth; ++d) sum = fmaf(to_float(a[r * lda + d]), to_float(b[s * ldb + d]), sum);
      c[r * ldc + s] = sum;
    }
  }
  // c [rows, cols] += a [rows, depth] · b [depth, cols]
  template <int kThreads, typename Element>
  MQ_HD static void multiply_add(int thread, const Element* a, int lda, const Element* b, int ldb, float* c, int ldc, int rows,
                                 int cols, int depth) {
    for (int at = thread; at < rows * cols; at += kThreads) {
      const int r = at / cols, s = at % cols;
      float sum = c[r * ldc + s];
      for (int d = 0; d < depth; ++d) sum = fmaf(to_float(a[r * lda + d]), to_float(b[d * ldb + s]), sum);
      c[r * ldc + s] = sum;
    }
  }
};

// Causal attention of one sample by tiles: a block has kTile queries of one head and meets the keys tile by tile, so that no more
// than a tile of scores exists. Rows of q, k, v, out are tokens; head h is at columns h * head_dim. Softmax in fp32, products on
// Element (fp32, bfloat16 or half) with fp32 sums.
template <typename Element, typename Tiles, int kTile>
struct Attention {
  static constexpr int kThreads = 128;
  static constexpr int kShare = kThreads / kTile;  // threads of a row
  static_assert(kTile % 16 == 0 && kThreads % kTile == 0);
  using Private = Nothing;

  const float* q;
  std::int64_t ldq;
  const float* k;
  std::int64_t ldk;
  const float* v;
  std::int64_t ldv;
  float* out;
  std::int64_t ldo;
  std::int64_t length;  // tokens of the sample
  int heads;
  int heads_of_key;  // query heads that share a key head
  int head_dim;
  std::int64_t window;  // 0: none
  float scale;
  float soft_cap = 0;            // as AttentionShape
  const float* sinks = nullptr;  // [heads], likewise

  // Leading dimensions in shared memory, padded against bank conflicts.
  MQ_HD int depth() const { return (head_dim + 15) / 16 * 16; }
  MQ_HD int wide() const { return depth() + 8; }
  static constexpr int kScores = kTile + 4;
  static constexpr int kWeights = kTile + 8;

  // Regions of shared memory, in bytes, each a multiple of 128.
  MQ_HD static std::size_t region(std::size_t bytes) { return (bytes + 127) / 128 * 128; }
  MQ_HD std::size_t tile_bytes() const { return region(sizeof(Element) * kTile * static_cast<std::size_t>(wide())); }
  MQ_HD static std::size_t scores_bytes() { return region(sizeof(float) * kTile * kScores); }
  MQ_HD static std::size_t weights_bytes() { return region(sizeof(Element) * kTile * kWeights); }
  MQ_HD std::size_t sums_bytes() const { return region(sizeof(float) * kTile * static_cast<std::size_t>(wide())); }

  BlockGrid grid() const { return {divide_up(length, kTile), heads}; }
  std::size_t shared_bytes() const {
    return 3 * tile_bytes() + scores_bytes() + weights_bytes() + sums_bytes() +
           region(sizeof(float) * (2 * kTile + 2 * kThreads));
  }

  template <typename Block>
  MQ_HD void operator()(Block& block) const {
    const std::size_t tile = tile_bytes();
    Element* queries = block.template shared<Element>(0);
    Element* keys = block.template shared<Element>(tile);
    Element* values = block.template shared<Element>(2 * tile);
    float* scores = block.template shared<float>(3 * tile);
    Element* weights = block.template shared<Element>(3 * tile + scores_bytes());
    float* sums = block.template shared<float>(3 * tile + scores_bytes() + weights_bytes());
    float* maxima = block.template shared<float>(3 * tile + scores_bytes() + weights_bytes() + sums_bytes());
    float* totals = maxima + kTile;
    float* part_max = totals + kTile;         // [kThreads]
    float* part_total = part_max + kThreads;  // [kThreads]

    // The longest rows first: blocks begin in order of their index.
    const std::int64_t begin = (divide_up(length, kTile) - 1 - block.x) * kTile;
    const std::int64_t end = smaller(begin + kTile, length);
    const std::int64_t head = block.y;
    const std::int64_t key_head = head / heads_of_key;
    const std::int64_t first_key = window > 0 ? larger(begin + 1 - window, 0) / kTile * kTile : 0;
    const int padded = depth(), ld = wide();

    block.phase([&](int thread, Private&) {
      load(thread, q + begin * ldq + head * head_dim, ldq, end - begin, queries);
      for (int i = thread; i < kTile * ld; i += kThreads) sums[i] = 0;
      if (thread < kTile) {
        maxima[thread] = -INFINITY;
        totals[thread] = 0;
      }
    });
    for (std::int64_t key = first_key; key < end; key += kTile) {
      block.phase([&](int thread, Private&) {
        const std::int64_t rows = smaller(kTile, length - key);
        load(thread, k + key * ldk + key_head * head_dim, ldk, rows, keys);
        load(thread, v + key * ldv + key_head * head_dim, ldv, rows, values);
      });
      block.phase([&](int thread, Private&) {
        Tiles::template multiply_transposed<kThreads>(thread, queries, ld, keys, ld, scores, kScores, kTile, kTile, padded);
      });
      block.phase([&](int thread, Private&) {
        const int row = thread / kShare;
        float most = -INFINITY;
        for (int c = thread % kShare; c < kTile; c += kShare) {
          float& score = scores[row * kScores + c];
          if (soft_cap > 0) score = soft_cap * tanhf(score * scale / soft_cap) / scale;
          if (seen(begin + row, key + c)) most = fmaxf(most, score);
        }
        part_max[thread] = most;
      });
      block.phase([&](int thread, Private&) {
        const int row = thread / kShare, lane = thread % kShare;
        float most = maxima[row];
        for (int i = 0; i < kShare; ++i) most = fmaxf(most, part_max[row * kShare + i]);
        float total = 0;
        for (int c = lane; c < kTile; c += kShare) {
          float weight = 0;
          if (seen(begin + row, key + c)) weight = expf((scores[row * kScores + c] - most) * scale);
          total += weight;
          from_float(weight, weights[row * kWeights + c]);
        }
        part_total[thread] = total;
        // A row that has seen no key yet has nothing to fade.
        const float fade = maxima[row] == most || maxima[row] == -INFINITY ? 1.0F : expf((maxima[row] - most) * scale);
        for (int d = lane; d < padded; d += kShare) sums[row * ld + d] *= fade;
      });
      block.phase([&](int thread, Private&) {
        if (thread < kTile) {
          float most = maxima[thread];
          for (int i = 0; i < kShare; ++i) most = fmaxf(most, part_max[thread * kShare + i]);
          const float fade = maxima[thread] == most || maxima[thread] == -INFINITY ? 1.0F : expf((maxima[thread] - most) * scale);
          float total = totals[thread] * fade;
          for (int i = 0; i < kShare; ++i) total += part_total[thread * kShare + i];
          totals[thread] = total;
          maxima[thread] = most;
        }
        Tiles::template multiply_add<kThreads>(thread, weights, kWeights, values, ld, sums, ld, kTile, padded, kTile);
      });
    }
    block.phase([&](int thread, Private&) {
      for (std::int64_t at = thread; at < (end - begin) * head_dim; at += kThreads) {
        const std::int64_t row = at / head_dim, d = at % head_dim;
        const float total = totals[row] + (sinks == nullptr ? 0.0F : expf(sinks[head] - maxima[row] * scale));
        out[(begin + row) * ldo + head * head_dim + d] = sums[row * ld + d] / total;
      }
    });
  }

 private:
  MQ_HD bool seen(std::int64_t query, std::int64_t key) const {
    return key <= query && query < length && (window == 0 || key > query - window);
  }
  // Rows beyond the sample and columns beyond the head become zero.
  MQ_HD void load(int thread, const float* from, std::int64_t ldf, std::int64_t rows, Element* tile) const {
    constexpr int kLanes = 32;  // threads of a row
    const int ld = wide(), columns = depth();
    for (int r = thread / kLanes; r < kTile; r += kThreads / kLanes)
      for (int d = thread % kLanes; d < columns; d += kLanes)
        from_float(r < rows && d < head_dim ? from[r * ldf + d] : 0.0F, tile[r * ld + d]);
  }
};

}  // namespace mpiquant::block
