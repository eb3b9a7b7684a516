#include "kernels/cpu/attention.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/vector_math.h"
#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

constexpr std::int64_t kTile = 64;  // query rows; the scores of one tile and one head are all that exists at a time

// scores [n] become e^(scale * (score - max)); returns their sum, with e^(sink - scale * max) if there is a sink.
MPIQUANT_MULTIVERSION float exp_row(float* scores, std::int64_t n, float scale, const float* sink) {
  std::array<float, kLanes> lanes;
  lanes.fill(-std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) {
      float& lane = lanes[static_cast<std::size_t>(l)];
      lane = lane < scores[i + l] ? scores[i + l] : lane;
    }
  for (; i < n; ++i) lanes[0] = std::max(lanes[0], scores[i]);
  const float max = *std::max_element(lanes.begin(), lanes.end());

  lanes.fill(0.0F);
  for (i = 0; i + kLanes <= n; i += kLanes)
    for (std::int64_t l = 0; l < kLanes; ++l) {
      scores[i + l] = exp_fast((scores[i + l] - max) * scale);
      lanes[static_cast<std::size_t>(l)] += scores[i + l];
    }
  for (; i < n; ++i) {
    scores[i] = exp_fast((scores[i] - max) * scale);
    lanes[static_cast<std::size_t>(i % kLanes)] += scores[i];
  }
  const float sum = sum_lanes(lanes);
  return sink == nullptr ? sum : sum + std::exp(*sink - max * scale);
}

// Scaled scores s become cap * tanh(s / cap); scores are unscaled before and after.
void cap_row(float* scores, std::int64_t n, float scale, float cap) {
  for (std::int64_t i = 0; i < n; ++i) scores[i] = cap * std::tanh(scores[i] * scale / cap) / scale;
}

MPIQUANT_MULTIVERSION void scale_row(float* x, std::int64_t n, float scale) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= scale;
}

struct Tile {
  std::int64_t sample;     // first row of the sample
  std::int64_t begin;      // first query, as a position in the sample
  std::int64_t end;        // after the last query
  std::int64_t key_begin;  // first key that a query of the tile sees
};

// One head of one tile. scores: room for kTile rows of the sample's keys.
void attend(const float* q, std::int64_t ldq, const float* k, std::int64_t ldk, const float* v, std::int64_t ldv,
            const AttentionShape& shape, const float* sink, const Tile& tile, float* scores, float* out, std::int64_t ldo) {
  const std::int64_t rows = tile.end - tile.begin, keys = tile.end - tile.key_begin;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(rows), static_cast<blasint>(keys),
              static_cast<blasint>(shape.head_dim), 1.0F, q, static_cast<blasint>(ldq), k, static_cast<blasint>(ldk), 0.0F,
              scores, static_cast<blasint>(keys));
  std::array<float, kTile> sums;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t last = tile.begin + r + 1 - tile.key_begin;
    const std::int64_t first = shape.window > 0 ? std::max<std::int64_t>(last - shape.window, 0) : 0;
    float* row = scores + r * keys;
    std::fill(row, row + first, 0.0F);
    if (shape.soft_cap > 0) cap_row(row + first, last - first, shape.scale, shape.soft_cap);
    sums[static_cast<std::size_t>(r)] = exp_row(row + first, last - first, shape.scale, sink);
    std::fill(row + last, row + keys, 0.0F);
  }
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(rows), static_cast<blasint>(shape.head_dim),
              static_cast<blasint>(keys), 1.0F, scores, static_cast<blasint>(keys), v, static_cast<blasint>(ldv), 0.0F, out,
              static_cast<blasint>(ldo));
  for (std::int64_t r = 0; r < rows; ++r) scale_row(out + r * ldo, shape.head_dim, 1.0F / sums[static_cast<std::size_t>(r)]);
}

}  // namespace

void attention(ConstMatrix q, ConstMatrix k, ConstMatrix v, const AttentionShape& shape, std::span<const std::int64_t> lengths,
               Matrix out) {
  const std::int64_t dim = shape.head_dim;
  expect(q.cols == shape.heads * dim && out.cols == q.cols && k.cols == shape.kv_heads * dim && v.cols == k.cols,
         "attention: {} queries, {} keys, {} heads of {}", q.cols, k.cols, shape.heads, dim);
  expect(shape.kv_heads > 0 && shape.heads % shape.kv_heads == 0, "attention: {} heads share {}", shape.heads, shape.kv_heads);
  expect(k.rows == q.rows && v.rows == q.rows && out.rows == q.rows &&
             std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}) == q.rows,
         "attention: lengths do not sum to {} rows", q.rows);
  if (q.rows == 0) return;
  const std::int64_t share = shape.heads / shape.kv_heads;
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  const std::int64_t keys = shape.window > 0 ? std::min(longest, shape.window + kTile) : longest;
  std::vector<float> scores(static_cast<std::size_t>(std::min(longest, kTile) * keys));
  Tile tile{};
  for (const std::int64_t length : lengths) {
    for (tile.begin = 0; tile.begin < length; tile.begin += kTile) {
      tile.end = std::min(length, tile.begin + kTile);
      tile.key_begin = shape.window > 0 ? std::max<std::int64_t>(tile.begin + 1 - shape.window, 0) : 0;
      const std::int64_t row = tile.sample + tile.begin, key = tile.sample + tile.key_begin;
      for (std::int64_t head = 0; head < shape.heads; ++head) {
        const std::int64_t kv = head / share * dim;
        attend(q.row(row) + head * dim, q.ld, k.row(key) + kv, k.ld, v.row(key) + kv, v.ld, shape,
               shape.sinks == nullptr ? nullptr : shape.sinks + head, tile, scores.data(), out.row(row) + head * dim, out.ld);
      }
    }
    tile.sample += length;
  }
}

}  // namespace mpiquant::cpu
