#include "src/plan/cost.h"

#include <algorithm>

#include "kernels/codec/codec.h"
#include "src/plan/value_bytes.h"

namespace mpiquant {
namespace {

constexpr double kTile = 128;          // of a Hessian
constexpr double kAttentionTile = 64;  // queries whose scores are computed together, up to the last key any of them sees

}  // namespace

Amount norm_work(double tokens, std::int64_t hidden) {
  Amount out;
  out[Op::kMemory] = 2 * kFloat * tokens * static_cast<double>(hidden);
  return out;
}

Amount forward_work(const LayerShape& layer, std::size_t block, double tokens, double length) {
  const BlockShape& shape = layer.blocks[block];
  const auto rows = static_cast<double>(shape.out()), cols = static_cast<double>(shape.cols);
  Amount out;
  out[Op::kLinear] = 2 * tokens * rows * cols;
  out[Op::kMemory] = kFloat * tokens * (2 * rows + cols);
  if (block != layer.attends) return out;
  double keys = (length + kAttentionTile) / 2;  // of a query, on average
  if (layer.window > 0) keys = std::min(keys, static_cast<double>(layer.window) + kAttentionTile / 2);
  const double scores = tokens * keys * static_cast<double>(layer.heads);
  out[Op::kAttention] = 2 * scores * static_cast<double>(layer.key_dim + layer.value_dim);
  out[Op::kSoftmax] = scores;
  out[Op::kMemory] += kFloat * tokens * static_cast<double>(layer.heads * (layer.key_dim + layer.value_dim));
  return out;
}

Amount hessian_work(std::int64_t cols, double tokens) {
  const auto n = static_cast<double>(cols);
  Amount out;
  out[Op::kHessian] = tokens * n * (n + std::min(n, kTile));  // on GPUs and in bf16 tiles on the diagonal are whole
  out[Op::kRound] = static_cast<double>(triangle(cols));
  out[Op::kMemory] = kFloat * tokens * n;  // of the largest diagonal element
  return out;
}

Amount cross_work(std::int64_t cols, double tokens) {
  const auto n = static_cast<double>(cols);
  Amount out;
  out[Op::kLinear] = 2 * tokens * n * n;
  out[Op::kRound] = n * n;
  out[Op::kMemory] = kFloat * tokens * n * 4;  // both inputs for the largest elements, and for their difference
  return out;
}

Amount correction_work(std::int64_t cols) {
  const auto n = static_cast<double>(cols);
  Amount out;
  out[Op::kLinear] = 2 * n * n * n;
  out[Op::kOrder] = 3 * n * n;
  return out;
}

Amount corrected_work(std::int64_t cols) {
  Amount out;
  out[Op::kLinear] = 2 * static_cast<double>(kPartRows * cols * cols);
  return out;
}

Amount factor_work(std::int64_t cols) {
  const auto n = static_cast<double>(cols);
  Amount out;
  out[Op::kFactor] = 2 * n * n * n / 3;
  out[Op::kOrder] = n * n;
  return out;
}

Amount sweep_work(std::int64_t cols, bool search) {
  const auto n = static_cast<double>(cols), rows = static_cast<double>(kPartRows);
  Amount out = encode_work(cols, search);
  out[Op::kSweep] = rows * n * n;
  out[Op::kColumn] = n;
  return out;
}

Amount encode_work(std::int64_t cols, bool search) {
  Amount out;
  out[Op::kCode] = static_cast<double>(kPartRows * cols);
  if (search) out[Op::kSearch] = out[Op::kCode];
  return out;
}

Amount decode_work(double weights) {
  Amount out;
  out[Op::kDecode] = weights;
  return out;
}

Amount write_work(double weights, double bytes) {
  Amount out;
  out[Op::kPack] = weights;
  out[Op::kWrite] = bytes;
  return out;
}

Amount copy_work(double source_bytes, double bytes) {
  Amount out;
  out[Op::kRead] = source_bytes;
  out[Op::kConvert] = source_bytes / 2;
  out[Op::kWrite] = bytes;
  return out;
}

Amount read_work(double weights, double source_bytes) {
  Amount out;
  out[Op::kRead] = weights * source_bytes;
  out[Op::kConvert] = weights;
  return out;
}

Amount upload_work(double weights, double weight_bytes) {
  Amount out;
  out[Op::kMemory] = 2 * weight_bytes * weights;
  return out;
}

}  // namespace mpiquant
