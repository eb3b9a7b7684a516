#include "src/plan/memory.h"

#include <algorithm>

#include "kernels/codec/codec.h"
#include "src/plan/cost.h"
#include "src/plan/value_bytes.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kFactorTile = 128;
constexpr std::int64_t kHeldElements = 2 << 20;  // of small units whose cross moments are summed together
// Resident without any model: program, HDF5 and BLAS code, tokenizer; MPI; and per thread its stack and BLAS packing area.
constexpr std::int64_t kProgramBytes = 27 * kMiB;
constexpr std::int64_t kMpiBytes = 9 * kMiB;
// The same that calibration adds: text and tokens, HDF5's caches, small buffers.
constexpr std::int64_t kCalibrationBytes = 11 * kMiB;
constexpr std::int64_t kTokenBytes = 256;        // of a word of the vocabulary: what reading a tokenizer leaves in the heap
constexpr std::int64_t kCopiedTokenBytes = 192;  // the same where its files are only copied
constexpr std::int64_t kGgufTokenBytes = 320;    // the same of the metadata of a GGUF file, beside kTokenBytes
constexpr std::int64_t kThreadBytes = 2 * kMiB;
constexpr std::int64_t kOneDnnBytes = 16 * kMiB;  // its code, and the kernels it makes
constexpr std::int64_t kStoredBytes = 4 * kMiB;   // of a tensor as it is stored, read at a time
constexpr std::int64_t kRowsBytes = kMiB / 2;     // of rows as stored, their codes and what they are packed to
constexpr std::int64_t kChunkTokens = 1024;       // of a product

std::int64_t share_of(std::int64_t count, int replicas) { return (count + replicas - 1) / replicas; }

class Peak {
 public:
  explicit Peak(const MemoryInput& input) : in_(input), threads_(input.accelerated ? 1 : input.threads) {
    base_.program = kProgramBytes + in_.threads * kThreadBytes;
    base_.program += (in_.all_tokens > 0 || in_.writes_gguf ? kTokenBytes : kCopiedTokenBytes) * in_.shape.vocab;
    if (in_.launched) base_.program += kMpiBytes;
    if (in_.all_tokens > 0) base_.program += kCalibrationBytes;
    if (in_.rounds) base_.program += kOneDnnBytes + in_.threads * rounded_bytes();
    const int entered = in_.true_sequential ? 0 : 1;  // kept until the layer is quantized
    base_.hidden = kFloat * in_.tokens * in_.shape.hidden * (streams() + entered);
    pooled_ = most_pooled();
  }

  MemoryUse find() {
    if (in_.by_rows) {
      base_.program += kGgufTokenBytes * in_.shape.vocab;
      base_.buffers = threads_ * std::max(kRowsBytes, in_.slab_bytes);
      return base_;
    }
    for_blocks([&](const BlockShape& block, bool owned) { visit(block, owned); });
    enter();
    return most_;
  }

 private:
  // Of activations: the quantized model's, and for corrections the original one's.
  int streams() const { return in_.corrects ? 2 : 1; }

  // The first hidden states are made of rows of the embedding, which ranks pick up and give each other.
  void enter() {
    if (in_.all_tokens == 0 || in_.first > 0) return;
    const std::int64_t mine = std::min(in_.tokens, in_.shape.vocab);
    const std::int64_t passing = share_of(std::min(in_.all_tokens, in_.shape.vocab), in_.replicas);
    MemoryUse sharing = base_;
    sharing.weights = sharing.hidden = 0;
    sharing.buffers = kFloat * in_.shape.hidden * (passing + (in_.replicas > 1 ? 2 * mine : 0));
    if (sharing.total() > most_.total()) most_ = sharing;
    MemoryUse entering = base_;
    entering.weights = in_.resident ? resident_bytes() : 0;
    entering.hidden = kFloat * in_.tokens * in_.shape.hidden * streams();
    entering.buffers = kFloat * in_.shape.hidden * (mine + in_.unit_tokens);
    if (entering.total() > most_.total()) most_ = entering;
  }

  // Weights of all layers of the stage.
  std::int64_t resident_bytes() const {
    std::int64_t sum = 0;
    for (std::size_t l = in_.first; l < in_.last; ++l) sum += weight_bytes(in_.shape.layers[l]);
    return sum;
  }

  // What a block keeps until its linears are converted.
  std::int64_t factor_bytes(const BlockShape& block) const {
    return kFloat * (triangle(block.cols) * in_.forms + (in_.corrects ? block.cols * block.cols : 0));
  }

  // Sets the weights that are there while each block is at work, and the factors of the layer's other blocks.
  template <typename Body>
  void for_blocks(const Body& body) {
    for (std::size_t l = in_.first; l < in_.last; ++l) {
      const LayerShape& layer = in_.shape.layers[l];
      base_.weights = in_.resident ? resident_bytes() : weight_bytes(layer) + read_ahead_bytes(l + 1);
      std::int64_t factors = 0;
      if (!in_.true_sequential && in_.all_tokens > 0)
        for (const BlockShape& block : layer.blocks) factors += factor_bytes(block);
      for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
        base_.factor = factors > 0 ? factors - factor_bytes(layer.blocks[b]) : 0;
        body(layer.blocks[b], owns(l, b));
      }
      base_.factor = 0;
    }
    if (!in_.head) return;
    const BlockShape head{"head", in_.shape.hidden, {in_.shape.vocab}};
    base_.weights = head.weights() * (in_.accelerated ? kHalf : kFloat) * in_.forms;
    body(head, owns(in_.shape.layers.size(), 0));
  }
  bool owns(std::size_t layer, std::size_t block) const { return !in_.owns || in_.owns(layer, block); }

  std::int64_t weight_bytes(const LayerShape& layer) const {
    std::int64_t count = 0;
    for (const BlockShape& block : layer.blocks)
      count += block.weights() / block.experts * (block.routed() ? share_of(block.experts, in_.replicas) : 1);
    return count * (in_.accelerated ? kHalf : kFloat) * in_.forms;
  }

  // This rank's rows of the next layer, which are read while a layer is at work.
  std::int64_t read_ahead_bytes(std::size_t next) const {
    if (in_.accelerated || next >= in_.last) return 0;
    return share_of(weight_bytes(in_.shape.layers[next]), in_.replicas);
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

  std::int64_t input_bytes(const BlockShape& block) const {
    // Tokens travel to the experts they chose, so that each is there several times.
    return kFloat * in_.tokens * block.cols * block.chosen * streams();
  }
  // What the units on the threads need beside their inputs, to pass a block.
  std::int64_t passing_bytes(const BlockShape& block) const {
    const std::int64_t together = block.routed() ? in_.all_tokens * block.chosen / block.experts : in_.unit_tokens;
    return kFloat * threads_ * together * (block.out() + block.cols);
  }

  // Most that buffers of the backend take at a time. On the CPU they are kept for later, whatever less is needed then.
  std::int64_t most_pooled() {
    std::int64_t most = 0;
    if (in_.accelerated || in_.all_tokens == 0) return most;
    for_blocks([&](const BlockShape& block, bool) {
      const std::int64_t moments = in_.corrects ? block.cols * block.cols * (kSum + kFloat) : triangle(block.cols) * kSum;
      const std::int64_t beside = std::max(passing_bytes(block), moments);
      most = std::max(most, base_.weights + base_.hidden + input_bytes(block) + beside);
    });
    return most;
  }

  // sum: of the Hessian, as far as it is a buffer of the backend.
  void consider(MemoryUse use, std::int64_t sum = 0) {
    use.hidden += std::max<std::int64_t>(0, pooled_ - use.weights - use.hidden - use.inputs - sum);
    if (in_.all_tokens > 0 && !in_.accelerated)
      use.hidden += kFloat * in_.tokens * in_.shape.hidden * streams();  // on its way to the checkpoint
    if (use.total() > most_.total()) most_ = use;
  }

  // All moments of one block.
  void visit(const BlockShape& block, bool owned) {
    const std::int64_t k = block.cols;
    const std::int64_t largest = std::ranges::max(block.rows) * k;
    const std::int64_t codes = 3 * largest;  // of the parts as sent, as received, and of the linear being packed
    MemoryUse loading = base_;
    loading.buffers = largest * kFloat;  // the linear as read, on its way to the backend, and this rank's share of it
    loading.buffers += std::min(kStoredBytes, largest * in_.shape.source_bytes);
    if (in_.forms > 1 || in_.replicas > 1) loading.buffers += share_of(largest, in_.replicas) * kFloat * in_.forms;
    consider(loading);
    if (in_.all_tokens == 0) {
      MemoryUse converting = base_;
      converting.buffers = codes;
      consider(converting);
      if (!in_.kept_hessians || !owned) return;
      MemoryUse factoring = base_;  // or the kept Hessian on its way to that of the other form
      factoring.hessian = triangle(k) * kFloat * in_.forms;
      factoring.factor = k * k * kDouble + threads_ * k * kFactorTile * kDouble + triangle(k) * kFloat;
      return consider(factoring);
    }
    const std::int64_t sum = triangle(k) * kSum, packed = triangle(k) * kFloat;
    MemoryUse with_inputs = base_;
    with_inputs.inputs = input_bytes(block);
    MemoryUse forward = with_inputs;
    forward.hidden += passing_bytes(block);
    consider(forward);
    MemoryUse summing = with_inputs;
    summing.hessian = sum + packed;
    consider(summing, sum);
    MemoryUse factoring = with_inputs;
    factoring.hessian = sum + packed * in_.forms;  // the sum's buffer waits to be used again
    factoring.factor += k * k * kDouble + threads_ * k * kFactorTile * kDouble + packed;
    if (owned) consider(factoring, sum);
    MemoryUse converting = with_inputs;
    converting.hessian = sum;
    converting.factor += factor_bytes(block);
    converting.buffers = threads_ * 3 * kPartRows * k * kFloat + codes;
    if (in_.corrects) {
      correct(with_inputs, block);
      converting.hessian = k * k * kSum;
      converting.buffers += threads_ * (kPartRows * k * kFloat + (in_.rounds ? k * k * kHalf : 0));
      return consider(converting, k * k * (kSum + kFloat));
    }
    consider(converting, sum);
  }

  // The cross moments are summed over the differences of some units at a time; the correction is made of them and the dense
  // factor, beside the packed one.
  void correct(MemoryUse use, const BlockShape& block) {
    const std::int64_t square = block.cols * block.cols;
    use.hessian = square * kSum;
    MemoryUse crossing = use;
    crossing.factor += triangle(block.cols) * kFloat;
    crossing.buffers = std::min(in_.tokens * block.cols, std::max(threads_ * in_.unit_tokens * block.cols, kHeldElements)) *
                       (kFloat + (in_.rounds ? 2 * kHalf : 0));
    consider(crossing, square * kSum);
    use.factor += factor_bytes(block) + square * kFloat;
    use.buffers = threads_ * kPartRows * block.cols * kFloat;
    consider(use, square * (kSum + kFloat));
  }

  const MemoryInput& in_;
  std::int64_t threads_;
  MemoryUse base_, most_;
  std::int64_t pooled_ = 0;
};

}  // namespace

Json to_json(const MemoryUse& use) {
  return {{"program", use.program}, {"weights", use.weights}, {"hidden", use.hidden},  {"inputs", use.inputs},
          {"hessian", use.hessian}, {"factor", use.factor},   {"buffers", use.buffers}};
}

MemoryUse peak_memory(const MemoryInput& input) { return Peak(input).find(); }

}  // namespace mpiquant
