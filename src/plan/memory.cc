#include "src/plan/memory.h"

#include <algorithm>
#include <set>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kFloat = sizeof(float);
constexpr std::int64_t kMiB = 1 << 20;
// Resident without any model: program, MPI, HDF5 and BLAS code, tokenizer; and per thread its stack and BLAS packing area.
constexpr std::int64_t kProgramBytes = 32 * kMiB;
constexpr std::int64_t kThreadBytes = 2 * kMiB;

std::int64_t triangle(std::int64_t n) { return n * (n + 1) / 2; }

std::vector<const BlockSpec*> blocks_of(const PlanInput& input, std::int64_t first, std::int64_t last) {
  std::vector<const BlockSpec*> blocks;
  for (std::int64_t i = first; i < last; ++i)
    for (const BlockSpec& block : input.model.layers[static_cast<std::size_t>(i)].blocks) blocks.push_back(&block);
  return blocks;
}

std::int64_t weights(const BlockSpec& block) {
  std::int64_t count = 0;
  for (const LinearSpec& linear : block.linears) count += linear.rows * linear.cols;
  return count;
}

// Distinct codecs that a linear is converted to.
std::int64_t variants(const PlanInput& input, const LinearSpec& linear) {
  std::vector<CodecSpec> codecs;
  for (const OutputSpec& output : input.outputs)
    for (const LinearChoice& choice : output.linears)
      if (choice.linear.module == linear.module && std::find(codecs.begin(), codecs.end(), choice.codec) == codecs.end())
        codecs.push_back(choice.codec);
  return static_cast<std::int64_t>(codecs.size());
}

std::int64_t activation_bytes(const PlanInput& input, const std::vector<const BlockSpec*>& blocks, std::int64_t tokens,
                              std::int64_t unit_tokens) {
  std::int64_t widest = 0;   // input of a block
  std::int64_t scratch = 0;  // what one unit needs while it passes a block
  for (const BlockSpec* block : blocks) {
    std::int64_t rows = 0;
    for (const LinearSpec& linear : block->linears) rows += linear.rows;
    widest = std::max(widest, block->cols());
    scratch = std::max(scratch, rows + block->cols());
  }
  const std::int64_t hidden_copies = input.recipe.true_sequential ? 1 : 2;
  return kFloat * (tokens * (hidden_copies * input.model.hidden + widest) + input.topology.threads * unit_tokens * scratch);
}

std::int64_t conversion_bytes(const PlanInput& input, const BlockSpec& block, bool calibrated) {
  const std::int64_t k = block.cols();
  // Codes with their parameters: of the parts as sent, as received, and of the linear being packed.
  std::int64_t largest = 0;
  for (const LinearSpec& linear : block.linears) largest = std::max(largest, linear.rows * linear.cols);
  const std::int64_t encoded = 3 * largest;
  if (!calibrated) return encoded;
  const std::int64_t sum = triangle(k) * static_cast<std::int64_t>(sizeof(std::int64_t));
  const std::int64_t packed = triangle(k) * kFloat;
  const std::int64_t factoring = 2 * k * k * static_cast<std::int64_t>(sizeof(double));
  const std::int64_t sweeping = input.topology.threads * 3 * kPartRows * k * kFloat;
  return std::max({sum + packed, packed * 2 + factoring, packed + sweeping + encoded});
}

}  // namespace

std::vector<RankCost> rank_costs(const PlanInput& input, const Plan& plan) {
  const bool calibrated = !plan.units.empty();
  std::vector<RankCost> costs(static_cast<std::size_t>(input.topology.ranks));
  std::int64_t unit_tokens = 0;
  for (const UnitPlan& unit : plan.units) unit_tokens = std::max(unit_tokens, unit.tokens);

  const auto add_block = [&](const BlockSpec& block, const BlockPlan& planned, int stage) {
    const auto cost_of = [&](int replica) -> RankCost& {
      return costs[static_cast<std::size_t>(stage) * static_cast<std::size_t>(plan.replicas) + static_cast<std::size_t>(replica)];
    };
    for (const PartPlan& part : planned.parts)
      cost_of(part.replica).rows_swept += part.rows * variants(input, block.linears[static_cast<std::size_t>(part.linear)]);
    for (int replica = 0; replica < plan.replicas; ++replica) {
      RankCost& cost = cost_of(replica);
      if (calibrated && plan.replicas > 1)
        cost.hessian_bytes += triangle(block.cols()) * static_cast<std::int64_t>(sizeof(std::int64_t));
      for (const LinearSpec& linear : block.linears) {
        const std::int64_t begin = linear.rows * replica / plan.replicas;
        const std::int64_t end = linear.rows * (replica + 1) / plan.replicas;
        cost.bytes_read += (end - begin) * linear.cols * static_cast<std::int64_t>(size_of(input.model.dtype));
      }
    }
    for (std::size_t i = 0; i < block.linears.size(); ++i)
      for (const auto& output : plan.files)
        for (const FilePlan& file : output)
          for (const TensorPlan& tensor : file.tensors)
            if (!tensor.piece.empty() && tensor.source == block.linears[i].module)
              cost_of(planned.writers[i]).bytes_written += tensor.bytes;
  };
  for (std::size_t l = 0; l < plan.layers.size(); ++l)
    for (std::size_t b = 0; b < plan.layers[l].blocks.size(); ++b)
      add_block(input.model.layers[l].blocks[b], plan.layers[l].blocks[b], plan.layers[l].stage);
  if (plan.head) add_block(BlockSpec{"head", {input.model.head}}, plan.head->blocks.front(), plan.head->stage);
  for (const SlabPlan& slab : plan.slabs) {
    const auto o = static_cast<std::size_t>(slab.output);
    const TensorPlan& tensor = plan.files[o][static_cast<std::size_t>(slab.file)].tensors[static_cast<std::size_t>(slab.tensor)];
    const Container& container = find_container(input.outputs[o].container);
    const std::int64_t bytes = (slab.row_end - slab.row_begin) * container.dense_row_bytes(input.outputs[o], input.model, tensor);
    costs[static_cast<std::size_t>(slab.rank)].bytes_written += bytes;
    costs[static_cast<std::size_t>(slab.rank)].bytes_read += bytes;
  }

  for (int rank = 0; rank < input.topology.ranks; ++rank) {
    RankCost& cost = costs[static_cast<std::size_t>(rank)];
    const auto [first, last] = plan.layers_of(rank / plan.replicas);
    std::int64_t tokens = 0;
    for (const UnitPlan& unit : plan.units)
      if (unit.replica == rank % plan.replicas) tokens += unit.tokens;
    cost.tokens = tokens * (last - first);
    const std::vector<const BlockSpec*> blocks = blocks_of(input, first, last);
    std::int64_t layer_bytes = 0;
    std::int64_t conversion = 0;
    for (std::int64_t l = first; l < last; ++l) {
      std::int64_t count = 0;
      for (const BlockSpec& block : input.model.layers[static_cast<std::size_t>(l)].blocks) count += weights(block);
      layer_bytes = std::max(layer_bytes, count * kFloat);
    }
    for (const BlockSpec* block : blocks) conversion = std::max(conversion, conversion_bytes(input, *block, calibrated));
    cost.memory = kProgramBytes + input.topology.threads * kThreadBytes + activation_bytes(input, blocks, tokens, unit_tokens) +
                  layer_bytes + conversion;
  }
  return costs;
}

}  // namespace mpiquant
