#include "src/plan/plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "src/base/error.h"
#include "src/plan/balancer.h"
#include "src/plan/rank_cost.h"
#include "src/plan/slabs.h"
#include "src/plan/stages.h"

namespace mpiquant {
namespace {

std::vector<UnitPlan> plan_units(const PlanInput& input, int replicas) {
  const auto samples = static_cast<std::int64_t>(input.sample_lengths.size());
  const std::int64_t per_unit = unit_samples(input.recipe, samples);
  Balancer balance(static_cast<std::size_t>(replicas));
  std::vector<UnitPlan> units;
  for (std::int64_t first = 0; first < samples; first += per_unit) {
    const std::int64_t count = std::min(per_unit, samples - first);
    const auto begin = input.sample_lengths.begin() + first;
    const std::int64_t tokens = std::accumulate(begin, begin + count, std::int64_t{0});
    units.push_back({first, count, tokens, balance.take(tokens)});
  }
  return units;
}

// First layer of each stage, and the number of layers.
std::vector<std::size_t> plan_stages(const PlanInput& input) {
  const PlanShape shape = shape_of(input.model);
  const auto conversions = conversions_by_module(input.outputs);
  const std::int64_t tokens = std::accumulate(input.sample_lengths.begin(), input.sample_lengths.end(), std::int64_t{0});
  const std::int64_t length = tokens == 0 ? 0 : std::ranges::max(input.sample_lengths);
  std::vector<LayerLoad> loads;
  for (std::size_t l = 0; l < shape.layers.size(); ++l)
    loads.push_back(layer_load(shape.layers[l], tokens, length, [&](std::size_t b) {
      return std::ranges::any_of(input.model.layers[l].blocks[b].linears,
                                 [&](const LinearSpec& linear) { return conversions.contains(linear.module); });
    }));
  const bool head = quantizes_head(input.outputs, input.model);
  return stage_bounds(loads, head ? head_load(shape, tokens) : LayerLoad{}, input.recipe.stages);
}

// Balances sweep rows, Hessian owners and writers over the replicas of each stage, all over the whole run.
class BlockPlanner {
 public:
  BlockPlanner(int stages, int replicas, std::map<std::string, std::int64_t> bytes)
      : replicas_(static_cast<std::size_t>(replicas)),
        bytes_(std::move(bytes)),
        sweep_(static_cast<std::size_t>(stages) * replicas_),
        owners_(sweep_),
        writers_(sweep_) {}

  BlockPlan plan(const BlockSpec& block, int stage) {
    const std::size_t begin = static_cast<std::size_t>(stage) * replicas_;
    const std::size_t end = begin + replicas_;
    BlockPlan out;
    out.hessian_owner = owners_.take(block.cols() * block.cols(), begin, end);
    for (std::size_t i = 0; i < block.linears.size(); ++i) {
      const LinearSpec& linear = block.linears[i];
      for (std::int64_t row = 0; row < linear.rows; row += kPartRows) {
        const std::int64_t rows = std::min(kPartRows, linear.rows - row);
        out.parts.push_back({static_cast<int>(i), row, rows, sweep_.take(rows * linear.cols, begin, end)});
      }
      const auto bytes = bytes_.find(linear.module);
      out.writers.push_back(writers_.take(bytes == bytes_.end() ? 0 : bytes->second, begin, end));
    }
    return out;
  }
  Balancer& writers() { return writers_; }

 private:
  std::size_t replicas_;
  std::map<std::string, std::int64_t> bytes_;
  Balancer sweep_, owners_, writers_;
};

Json to_json(const LayerPlan& layer) {
  Json blocks = Json::array();
  for (const BlockPlan& block : layer.blocks) {
    Json parts = Json::array();
    for (const PartPlan& part : block.parts) parts.push_back({part.linear, part.row_begin, part.rows, part.replica});
    blocks.push_back({{"hessian_owner", block.hessian_owner}, {"parts", parts}, {"writers", block.writers}});
  }
  return {{"stage", layer.stage}, {"blocks", blocks}};
}

}  // namespace

std::int64_t unit_samples(const Recipe& recipe, std::int64_t samples) {
  constexpr std::int64_t kUnits = 64;
  return recipe.unit_samples > 0 ? recipe.unit_samples : std::max<std::int64_t>(1, (samples + kUnits - 1) / kUnits);
}

const TensorPlan& Plan::tensor_of(const SlabTarget& target) const {
  return files[static_cast<std::size_t>(target.output)][static_cast<std::size_t>(target.file)]
      .tensors[static_cast<std::size_t>(target.tensor)];
}

std::vector<std::int64_t> Plan::units_of(int replica) const {
  std::vector<std::int64_t> mine;
  for (std::size_t i = 0; i < units.size(); ++i)
    if (units[i].replica == replica) mine.push_back(static_cast<std::int64_t>(i));
  return mine;
}

std::pair<std::int64_t, std::int64_t> Plan::layers_of(int stage) const {
  const auto of_stage = [stage](const LayerPlan& layer) { return layer.stage == stage; };
  const auto first = std::find_if(layers.begin(), layers.end(), of_stage);
  return {first - layers.begin(), std::find_if_not(first, layers.end(), of_stage) - layers.begin()};
}

Plan make_plan(const PlanInput& input) {
  const auto layers = static_cast<std::int64_t>(input.model.layers.size());
  const int stages = input.recipe.stages;
  check(
      input.topology.ranks % stages == 0, ExitCode::kUsage,
      "{} ranks cannot form {} stages (every stage has as many ranks) give a number of ranks divisible by {}, or other --stages",
      input.topology.ranks, stages, stages);
  check(stages <= layers, ExitCode::kUsage, "{} stages for {} layers (a stage holds at least one layer) use at most {} stages",
        stages, layers, layers);
  Plan plan;
  plan.stages = stages;
  plan.replicas = input.topology.ranks / stages;
  plan.units = plan_units(input, plan.replicas);
  for (std::size_t o = 0; o < input.outputs.size(); ++o)
    plan.files.push_back(find_container(input.outputs[o].container).layout(input.outputs[o], input.facts.at(o)));

  BlockPlanner planner(stages, plan.replicas, bytes_by_module(plan.files));
  const std::vector<std::size_t> bounds = plan_stages(input);
  for (const LayerSpec& layer : input.model.layers) {
    const auto after = std::ranges::upper_bound(bounds, static_cast<std::size_t>(layer.index));
    LayerPlan out{static_cast<int>(after - bounds.begin()) - 1, {}};
    for (const BlockSpec& block : layer.blocks) out.blocks.push_back(planner.plan(block, out.stage));
    plan.layers.push_back(std::move(out));
  }
  if (quantizes_head(input.outputs, input.model))
    plan.head = LayerPlan{stages - 1, {planner.plan(BlockSpec{"head", {input.model.head}}, stages - 1)}};
  plan.slabs = plan_slabs(input, plan, planner.writers());
  plan.costs = rank_costs(input, plan);
  return plan;
}

Json to_json(const Plan& plan) {
  Json units = Json::array();
  for (const UnitPlan& unit : plan.units) units.push_back({unit.first_sample, unit.samples, unit.tokens, unit.replica});
  Json layers = Json::array();
  for (const LayerPlan& layer : plan.layers) layers.push_back(to_json(layer));
  Json files = Json::array();
  for (const auto& output : plan.files)
    for (const FilePlan& file : output) files.push_back({{"path", file.path}, {"bytes", file.bytes}});
  Json slabs = Json::array();
  for (const SlabPlan& slab : plan.slabs) {
    Json targets = Json::array();
    for (const SlabTarget& target : slab.targets) targets.push_back({target.output, target.file, target.tensor});
    slabs.push_back({{"targets", targets}, {"rows", {slab.row_begin, slab.row_end}}, {"layer", slab.layer}, {"rank", slab.rank}});
  }
  Json costs = Json::array();
  for (const RankCost& cost : plan.costs)
    costs.push_back({{"tokens", cost.tokens},
                     {"rows_swept", cost.rows_swept},
                     {"bytes_read", cost.bytes_read},
                     {"bytes_written", cost.bytes_written},
                     {"hessian_bytes", cost.hessian_bytes},
                     {"memory", cost.memory},
                     {"memory_use", to_json(cost.memory_use)}});
  Json out{{"version", 1}, {"stages", plan.stages}, {"replicas", plan.replicas}, {"units", units}, {"layers", layers}};
  if (plan.head) out["head"] = to_json(*plan.head);
  out["files"] = files;
  out["slabs"] = slabs;
  out["costs"] = costs;
  return out;
}

double imbalance(const std::vector<std::int64_t>& values) {
  const std::int64_t sum = std::accumulate(values.begin(), values.end(), std::int64_t{0});
  if (sum == 0) return 1;
  const std::int64_t most = *std::max_element(values.begin(), values.end());
  return static_cast<double>(most) * static_cast<double>(values.size()) / static_cast<double>(sum);
}

}  // namespace mpiquant
