#include "src/plan/rank_cost.h"

#include <algorithm>
#include <set>

#include "src/plan/cost.h"
#include "src/plan/device_memory.h"
#include "src/plan/value_bytes.h"
#include "src/quant/method.h"
#include "src/quant/rotation.h"

namespace mpiquant {
namespace {

class Ledger {
 public:
  Ledger(const PlanInput& input, const Plan& plan)
      : input_(input),
        plan_(plan),
        conversions_(conversions_by_module(input.outputs)),
        bytes_(bytes_by_module(plan.files)),
        costs_(static_cast<std::size_t>(input.topology.ranks)),
        slab_bytes_(costs_.size()) {
    for (const OutputSpec& output : input.outputs)
      for (const DenseChoice& dense : output.dense) dtypes_[stored_tensor(input.model, dense.source)] = dense.dtype;
  }

  std::vector<RankCost> fill() {
    for (std::size_t l = 0; l < plan_.layers.size(); ++l)
      for (std::size_t b = 0; b < plan_.layers[l].blocks.size(); ++b)
        add(input_.model.layers[l].blocks[b], plan_.layers[l].blocks[b], plan_.layers[l].stage,
            by_rows(input_.model.layers[l].blocks));
    const BlockSpec head{"head", {input_.model.head}};
    if (plan_.head) add(head, plan_.head->blocks.front(), plan_.head->stage, by_rows({head}));
    for (const SlabPlan& slab : plan_.slabs) add(slab);
    const PlanShape shape = shape_of(input_.model);
    for (int rank = 0; rank < input_.topology.ranks; ++rank) add_memory(shape, rank);
    return std::move(costs_);
  }

 private:
  RankCost& cost(int stage, int replica) {
    return costs_[static_cast<std::size_t>(stage) * static_cast<std::size_t>(plan_.replicas) + static_cast<std::size_t>(replica)];
  }

  bool by_rows(const std::vector<BlockSpec>& blocks) const {
    return converts_by_rows(input_.recipe, input_.model, input_.outputs, blocks);
  }

  bool corrects() const { return !plan_.units.empty() && input_.recipe.gptaq_alpha > 0; }

  // rows: the layer is converted by rows, so that what no output quantizes is read with its slabs alone.
  void add(const BlockSpec& block, const BlockPlan& planned, int stage, bool rows) {
    for (const PartPlan& part : planned.parts) {
      const auto conversions = conversions_.find(block.linears[static_cast<std::size_t>(part.linear)].module);
      if (conversions != conversions_.end())
        cost(stage, part.replica).rows_swept += part.rows * static_cast<std::int64_t>(conversions->second.size());
    }
    const bool converted =
        std::ranges::any_of(block.linears, [&](const LinearSpec& linear) { return conversions_.contains(linear.module); });
    for (int replica = 0; replica < plan_.replicas; ++replica) {
      RankCost& of = cost(stage, replica);
      if (converted && !plan_.units.empty() && plan_.replicas > 1)
        of.hessian_bytes += (triangle(block.cols()) + (corrects() ? block.cols() * block.cols() : 0)) * kSum;
      for (const LinearSpec& linear : block.linears) {
        if (rows && !conversions_.contains(linear.module)) continue;
        const std::int64_t begin = linear.rows * replica / plan_.replicas, end = linear.rows * (replica + 1) / plan_.replicas;
        of.bytes_read += (end - begin) * linear.cols * static_cast<std::int64_t>(size_of(input_.model.dtype));
      }
    }
    if (rows) return add_written_rows(block, planned, stage);
    for (std::size_t i = 0; i < block.linears.size(); ++i) {
      const auto bytes = bytes_.find(block.linears[i].module);
      if (bytes != bytes_.end()) cost(stage, planned.writers[i]).bytes_written += bytes->second;
    }
  }

  void add_written_rows(const BlockSpec& block, const BlockPlan& planned, int stage) {
    for (const PartPlan& part : planned.parts) {
      const LinearSpec& linear = block.linears[static_cast<std::size_t>(part.linear)];
      const auto bytes = bytes_.find(linear.module);
      if (bytes != bytes_.end()) cost(stage, part.replica).bytes_written += bytes->second / linear.rows * part.rows;
    }
  }

  void add(const SlabPlan& slab) {
    RankCost& of = costs_[static_cast<std::size_t>(slab.rank)];
    const std::int64_t rows = slab.row_end - slab.row_begin;
    std::int64_t packed = 0;  // one target after the other
    bool rotated = false;
    for (const SlabTarget& target : slab.targets) {
      const OutputSpec& output = input_.outputs[static_cast<std::size_t>(target.output)];
      const std::int64_t bytes =
          rows * find_container(output.container).dense_row_bytes(output, input_.model, plan_.tensor_of(target));
      of.bytes_written += bytes;
      packed = std::max(packed, bytes);
      rotated = rotated || !output.transforms.empty();
    }
    if (slab.with_part) return;
    std::int64_t& largest = slab_bytes_[static_cast<std::size_t>(slab.rank)];
    largest = std::max(largest, packed + (slab.held ? rows * slab.cols * kFloat * (rotated ? 2 : 1) : 0));
    const auto dtype = dtypes_.find(slab.tensor);
    if (dtype != dtypes_.end() && is_read(slab))
      of.bytes_read += rows * slab.cols * static_cast<std::int64_t>(size_of(dtype->second));
  }

  // Else it is in memory with its layer.
  bool is_read(const SlabPlan& slab) const {
    if (slab.layer == kNoLayer) return true;
    if (slab.layer == static_cast<std::int64_t>(plan_.layers.size())) return by_rows({{"head", {input_.model.head}}});
    return by_rows(input_.model.layers[static_cast<std::size_t>(slab.layer)].blocks);
  }

  void add_memory(const PlanShape& shape, int rank) {
    const int stage = rank / plan_.replicas;
    const auto [first, last] = plan_.layers_of(stage);
    MemoryInput in{.shape = shape, .first = static_cast<std::size_t>(first), .last = static_cast<std::size_t>(last)};
    for (const UnitPlan& unit : plan_.units) {
      in.unit_tokens = std::max(in.unit_tokens, unit.tokens);
      in.all_tokens += unit.tokens;
      if (unit.replica == rank % plan_.replicas) in.tokens += unit.tokens;
    }
    in.replicas = plan_.replicas;
    in.threads = input_.topology.threads;
    in.launched = input_.topology.launched;
    const bool propagates = propagated_output(input_.recipe, input_.outputs).has_value();
    in.true_sequential = input_.recipe.true_sequential || !propagates;
    in.corrects = corrects();
    in.forms = count_forms(input_.outputs);
    in.resident = !plan_.units.empty() && plan_.stages > 1 && !propagates;
    in.kept_hessians = in.all_tokens == 0 && find_method(input_.recipe.method).needs_hessian;
    in.rounds = in.all_tokens > 0 && input_.recipe.compute != ComputeType::kF32;
    in.head = plan_.head && stage + 1 == plan_.stages;
    RankCost& of = costs_[static_cast<std::size_t>(rank)];
    in.writes_gguf = std::ranges::any_of(input_.outputs, [](const OutputSpec& output) { return output.container == "gguf"; });
    in.by_rows = !in.head || by_rows({{"head", {input_.model.head}}});
    for (auto layer = first; layer < last; ++layer)
      in.by_rows = in.by_rows && by_rows(input_.model.layers[static_cast<std::size_t>(layer)].blocks);
    in.slab_bytes = slab_bytes_[static_cast<std::size_t>(rank)];
    in.owns = [this, replica = rank % plan_.replicas](std::size_t layer, std::size_t block) {
      const LayerPlan& plan = layer == plan_.layers.size() ? *plan_.head : plan_.layers[layer];
      return plan.blocks[block].hessian_owner == replica;
    };
    of.tokens = in.tokens * (last - first);
    of.memory_use = peak_memory(in);
    of.memory = of.memory_use.total();
    std::size_t codecs = 1;
    for (const auto& [module, of_module] : conversions_) codecs = std::max(codecs, of_module.size());
    of.device_memory = device_memory(in, static_cast<std::int64_t>(codecs));
    of.device_memory_of_work = device_memory(in, static_cast<std::int64_t>(codecs), true);
  }

  const PlanInput& input_;
  const Plan& plan_;
  std::map<std::string, std::vector<Conversion>> conversions_;
  std::map<std::string, std::int64_t> bytes_;
  std::map<std::string, DType> dtypes_;  // of the source's tensors that are carried over
  std::vector<RankCost> costs_;
  std::vector<std::int64_t> slab_bytes_;  // of the largest of each rank
};

}  // namespace

std::map<std::string, std::vector<Conversion>> conversions_by_module(const std::vector<OutputSpec>& outputs) {
  std::map<std::string, std::vector<Conversion>> out;
  for (const OutputSpec& output : outputs)
    for (const LinearChoice& choice : output.linears) {
      if (choice.dense) continue;
      std::vector<Conversion>& conversions = out[choice.linear.module];
      const Conversion mine{choice.codec, output.transforms};
      if (std::ranges::find(conversions, mine) == conversions.end()) conversions.push_back(mine);
    }
  return out;
}

int count_forms(const std::vector<OutputSpec>& outputs) {
  std::set<std::vector<std::string>> forms;
  for (const OutputSpec& output : outputs) forms.insert(output.transforms);
  return static_cast<int>(forms.size());
}

bool converts_by_rows(const Recipe& recipe, const ModelSpec& model, const std::vector<OutputSpec>& outputs,
                      std::span<const BlockSpec> blocks) {
  // Rows of a rotated model's o_proj and down_proj come of many; for simplicity all its linears are made as a whole.
  if (recipe.method != "rtn" || has_transforms(recipe)) return false;
  const auto packs_rows = [&](const LinearSpec& linear) {
    return std::ranges::all_of(outputs, [&](const OutputSpec& output) {
      const auto choice =
          std::ranges::find(output.linears, linear.module, [](const LinearChoice& of) { return of.linear.module; });
      if (choice == output.linears.end() || choice->dense) return true;
      return !choice->codec.mse && find_container(output.container).packs_parts(model, linear);
    });
  };
  return std::ranges::all_of(blocks, [&](const BlockSpec& block) { return std::ranges::all_of(block.linears, packs_rows); });
}

std::map<std::string, std::int64_t> bytes_by_module(const std::vector<std::vector<FilePlan>>& files) {
  std::map<std::string, std::int64_t> bytes;
  for (const auto& output : files)
    for (const FilePlan& file : output)
      for (const TensorPlan& tensor : file.tensors)
        if (!tensor.piece.empty()) bytes[tensor.source] += tensor.bytes;
  return bytes;
}

std::vector<RankCost> rank_costs(const PlanInput& input, const Plan& plan) { return Ledger(input, plan).fill(); }

}  // namespace mpiquant
