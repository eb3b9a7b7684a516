#include "src/plan/device_memory.h"

#include <algorithm>

#include "kernels/codec/codec.h"
#include "src/plan/cost.h"
#include "src/plan/value_bytes.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kChunk = 4096;                    // tokens of a product that is only passed on
constexpr std::int64_t kPanelRows = 1024;                // of a Hessian
constexpr std::int64_t kSmall = std::int64_t{16} << 20;  // vectors, tables and counters

class DevicePeak {
 public:
  DevicePeak(const MemoryInput& input, std::int64_t codecs, bool states_on_host)
      : in_(input), codecs_(codecs), streams_(std::clamp(input.threads, 1, kDeviceStreams)), on_host_(states_on_host) {}

  std::int64_t find() {
    std::int64_t resident = 0;
    for (std::size_t l = in_.first; in_.resident && l < in_.last; ++l) resident += values(in_.shape.layers[l]) * in_.forms;
    for (std::size_t l = in_.first; l < in_.last; ++l) {
      const LayerShape& layer = in_.shape.layers[l];
      const std::int64_t base = kFloat * (in_.resident ? resident : values(layer) * in_.forms) + states();
      for (std::size_t b = 0; b < layer.blocks.size(); ++b)
        visit(layer.blocks[b], layer.blocks[std::min(b + 1, layer.blocks.size() - 1)].cols, base + other_factors(layer, b));
    }
    if (in_.head) {
      const BlockShape head{"head", in_.shape.hidden, {in_.shape.vocab}};
      visit(head, head.cols, kFloat * head.weights() * in_.forms + states());
    }
    return most_ + kSmall;
  }

 private:
  static std::int64_t values(const LayerShape& layer) { return layer.weights() + layer.dense; }
  // Without true_sequential a layer's blocks are converted together: their factors wait.
  std::int64_t other_factors(const LayerShape& layer, std::size_t block) const {
    std::int64_t values = 0;
    for (std::size_t b = 0; b < layer.blocks.size(); ++b)
      if (b != block && !in_.true_sequential && in_.all_tokens > 0) values += triangle(layer.blocks[b].cols);
    return kFloat * values * in_.forms;
  }
  // Of all units, with so many columns, and of one that was brought to the device.
  std::int64_t kept(std::int64_t cols) const { return on_host_ ? 0 : kFloat * in_.tokens * cols; }
  std::int64_t brought(std::int64_t cols) const { return on_host_ ? kFloat * in_.unit_tokens * cols : 0; }
  std::int64_t states() const { return kept(in_.shape.hidden); }

  // All moments of one block; next: columns of the block that its results go into.
  void visit(const BlockShape& block, std::int64_t next, std::int64_t base) {
    const std::int64_t k = block.cols, largest = std::ranges::max(block.rows) * k;
    consider(base + kHalf * largest);  // the file's values beside the weights
    const std::int64_t parts = block.out() / in_.replicas + static_cast<std::int64_t>(block.rows.size()) * kPartRows;
    const std::int64_t encoded = parts * codecs_ * (2 * k + k / 2);  // codes twice, parameters of groups of 32
    if (in_.all_tokens == 0 && !in_.kept_hessians) return consider(base + encoded);
    const std::int64_t inputs = kept(k);
    consider(base + inputs + triangle(k) * (1 + in_.forms) * kFloat +
             2 * k * k * kDouble);  // the matrix in either type, cuSOLVER's workspace
    consider(base + inputs + triangle(k) * kFloat * in_.forms + parts * codecs_ * k * kFloat + encoded);
    if (in_.all_tokens == 0) return;
    // Outputs of a unit on each stream, and its operands in 2 bytes.
    const std::int64_t together = std::min(in_.unit_tokens, kChunk);
    const std::int64_t forward = kFloat * in_.unit_tokens * std::max(block.out(), next) + kFloat * together * block.out() +
                                 kFloat * (largest + in_.unit_tokens * k) / 2 + brought(in_.shape.hidden + k);
    consider(base + std::max(inputs, kept(next)) + streams_ * forward);
    consider(base + inputs + brought(k) + triangle(k) * (kSum + kFloat) +
             2 * (kFloat * std::min(kPanelRows, k) * k + kHalf * in_.unit_tokens * k));
  }

  void consider(std::int64_t bytes) { most_ = std::max(most_, bytes); }

  const MemoryInput& in_;
  std::int64_t codecs_;
  std::int64_t streams_;
  bool on_host_;
  std::int64_t most_ = 0;
};

}  // namespace

std::int64_t device_memory(const MemoryInput& input, std::int64_t codecs, bool states_on_host) {
  return DevicePeak(input, codecs, states_on_host).find();
}

}  // namespace mpiquant
