#include "src/plan/memory.h"

#include <algorithm>

#include "kernels/codec/codec.h"
#include "src/plan/cost.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kFloat = 4, kHalf = 2, kDouble = 8, kSum = 8;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kFactorTile = 128;
// Resident without any model: program, MPI, HDF5 and BLAS code, tokenizer; and per thread its stack and BLAS packing area.
constexpr std::int64_t kProgramBytes = 36 * kMiB;
// The same that calibration adds: text and tokens, HDF5's caches, small buffers that are kept for later.
constexpr std::int64_t kCalibrationBytes = 12 * kMiB;
constexpr std::int64_t kTokenBytes = 256;  // of a word of the vocabulary: what reading a tokenizer leaves in the heap
constexpr std::int64_t kThreadBytes = 2 * kMiB;
constexpr std::int64_t kOneDnnBytes = 16 * kMiB;  // its code, and the kernels it makes
constexpr std::int64_t kChunkTokens = 1024;       // of a product

std::int64_t share_of(std::int64_t experts, int replicas) { return (experts + replicas - 1) / replicas; }

class Peak {
 public:
  explicit Peak(const MemoryInput& input) : in_(input), threads_(input.accelerated ? 1 : input.threads) {
    base_.program = kProgramBytes + in_.threads * kThreadBytes;
    if (in_.all_tokens > 0) base_.program += kCalibrationBytes + kTokenBytes * in_.shape.vocab;
    if (in_.rounds) base_.program += kOneDnnBytes + in_.threads * rounded_bytes();
    const std::int64_t copies = in_.true_sequential ? 1 : 2;
    base_.hidden = kFloat * in_.tokens * in_.shape.hidden * copies;
  }

  MemoryUse find() {
    std::int64_t resident = 0;
    for (std::size_t l = in_.first; in_.resident && l < in_.last; ++l) resident += weight_bytes(in_.shape.layers[l]);
    for (std::size_t l = in_.first; l < in_.last; ++l) {
      const LayerShape& layer = in_.shape.layers[l];
      base_.weights = in_.resident ? resident : weight_bytes(layer);
      for (const BlockShape& block : layer.blocks) visit(block);
      snapshot(layer);
    }
    if (in_.head) {
      const BlockShape head{"head", in_.shape.hidden, {in_.shape.vocab}};
      base_.weights = head.weights() * (in_.accelerated ? kHalf : kFloat);
      visit(head);
    }
    return most_;
  }

 private:
  std::int64_t weight_bytes(const LayerShape& layer) const {
    std::int64_t count = 0;
    for (const BlockShape& block : layer.blocks)
      count += block.weights() / block.experts * (block.routed() ? share_of(block.experts, in_.replicas) : 1);
    return count * (in_.accelerated ? kHalf : kFloat);
  }

  // Operands of a product: a linear's weights and a chunk of inputs, or a unit's inputs for the Hessian.
  std::int64_t rounded_bytes() const {
    std::int64_t most = 0;
    for (std::size_t l = in_.first; l < in_.last; ++l)
      for (const BlockShape& block : in_.shape.layers[l].blocks)
        most = std::max(
            most, block.cols * std::max(std::ranges::max(block.rows) + std::min(in_.unit_tokens, kChunkTokens), in_.unit_tokens));
    return kHalf * most;
  }

  // Hidden states on their way into the checkpoint, while the buffers of the layer's inputs wait to be used again.
  void snapshot(const LayerShape& layer) {
    std::int64_t widest = 0;
    for (const BlockShape& block : layer.blocks) widest = std::max(widest, block.cols * block.chosen);
    MemoryUse use = base_;
    use.hidden += kFloat * in_.tokens * in_.shape.hidden;
    use.inputs = kFloat * in_.tokens * widest;
    consider(use);
  }

  void consider(const MemoryUse& use) {
    if (use.total() > most_.total()) most_ = use;
  }

  // All moments of one block.
  void visit(const BlockShape& block) {
    const std::int64_t k = block.cols;
    const std::int64_t largest = std::ranges::max(block.rows) * k;
    const std::int64_t codes = 3 * largest;  // of the parts as sent, as received, and of the linear being packed
    MemoryUse loading = base_;
    loading.buffers = largest * kFloat;  // the linear as read, on its way to the backend
    consider(loading);
    if (in_.all_tokens == 0) {
      MemoryUse converting = base_;
      converting.buffers = codes;
      return consider(converting);
    }
    MemoryUse with_inputs = base_;
    // Tokens travel to the experts they chose, so that each is there several times.
    with_inputs.inputs = kFloat * in_.tokens * k * block.chosen;
    const std::int64_t together = block.routed() ? in_.all_tokens * block.chosen / block.experts : in_.unit_tokens;
    MemoryUse forward = with_inputs;
    forward.hidden += kFloat * threads_ * together * (block.out() + k);
    consider(forward);
    MemoryUse summing = with_inputs;
    summing.hessian = triangle(k) * (kSum + kFloat);
    consider(summing);
    MemoryUse factoring = with_inputs;
    factoring.hessian = triangle(k) * (kSum + kFloat);  // the sum's buffer waits to be used again
    factoring.factor = k * k * kDouble + threads_ * k * kFactorTile * kDouble + triangle(k) * kFloat;
    consider(factoring);
    MemoryUse converting = with_inputs;
    converting.hessian = triangle(k) * kSum;
    converting.factor = triangle(k) * kFloat;
    converting.buffers = threads_ * 3 * kPartRows * k * kFloat + codes;
    consider(converting);
  }

  const MemoryInput& in_;
  std::int64_t threads_;
  MemoryUse base_, most_;
};

}  // namespace

Json to_json(const MemoryUse& use) {
  return {{"program", use.program}, {"weights", use.weights}, {"hidden", use.hidden},  {"inputs", use.inputs},
          {"hessian", use.hessian}, {"factor", use.factor},   {"buffers", use.buffers}};
}

MemoryUse peak_memory(const MemoryInput& input) { return Peak(input).find(); }

}  // namespace mpiquant
