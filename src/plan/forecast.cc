#include "src/plan/forecast.h"

#include <algorithm>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/plan/rank_cost.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kUnits = 64;  // as in make_plan, by default

// Bytes of a quantized weight in a file of a format, with its share of the group's parameters; the container's own extras are
// small.
double stored_bytes(const Recipe& recipe, const std::string& format) {
  const auto ends = [&](const char* type) { return format.ends_with(type); };
  if (ends("q8_0")) return 34.0 / 32;
  if (ends("q4_1")) return 20.0 / 32;
  if (ends("q4_0")) return 18.0 / 32;
  if (ends("f32")) return 4;
  if (format.starts_with("dense") || ends("f16")) return 2;
  const double bits = recipe.bits / 8.0;
  return recipe.group_size > 0 ? bits + (2 + bits) / static_cast<double>(recipe.group_size) : bits;
}

class Forecaster {
 public:
  explicit Forecaster(const ForecastInput& input) : in_(input), stages_(input.recipe.stages), replicas_(input.ranks / stages_) {
    const auto layers = static_cast<std::int64_t>(input.shape.layers.size());
    check(input.ranks % stages_ == 0, ExitCode::kUsage,
          "{} ranks cannot form {} stages (every stage has as many ranks) give a number of ranks divisible by {}, or other "
          "--stages",
          input.ranks, stages_, stages_);
    check(stages_ <= layers, ExitCode::kUsage, "{} stages for {} layers (a stage holds at least one layer) use at most {} stages",
          stages_, layers, layers);
    unit_samples_ = input.recipe.unit_samples > 0 ? input.recipe.unit_samples
                                                  : std::max<std::int64_t>(1, (input.samples + kUnits - 1) / kUnits);
  }

  Forecast run() {
    Forecast out;
    const ProgramInput program = program_input();
    out.program = make_program(program);
    out.placement = {.per_node = std::min(in_.per_node, in_.ranks), .compute = in_.compute};
    PlanSummary& summary = out.summary;
    summary.model = in_.model;
    summary.architecture = in_.shape.architecture;
    summary.parameters = in_.shape.values();
    summary.layers = static_cast<std::int64_t>(in_.shape.layers.size());
    summary.quantizable = in_.plan != nullptr;
    if (in_.plan != nullptr) summary.plan_hash = xxh3_hex(to_json(*in_.plan).dump());
    summary.machine = in_.machine.name;
    summary.per_node = out.placement.per_node;
    summary.nodes = (in_.ranks + summary.per_node - 1) / summary.per_node;
    summary.stages = stages_;
    summary.replicas = replicas_;
    summary.threads = in_.threads;
    summary.samples = in_.samples;
    summary.length = in_.length;
    summary.units = (in_.samples + unit_samples_ - 1) / unit_samples_;
    add_files(summary);
    add_memory(summary);
    summary.memory_limit = in_.machine.accelerated ? in_.machine.rank_memory : in_.machine.node_memory / summary.per_node;
    summary.duties = duties_of(out.program);
    summary.estimate = estimate(out.program, in_.machine, out.placement);
    Placement overlapped = out.placement;
    overlapped.overlap = true;
    summary.overlapped = estimate(out.program, in_.machine, overlapped).seconds;
    return out;
  }

 private:
  bool propagates() const {
    if (in_.outputs != nullptr) return propagated_output(in_.recipe, *in_.outputs).has_value();
    return in_.recipe.propagate != "original" && (!in_.recipe.propagate.empty() || stages_ == 1);
  }

  ProgramInput program_input() {
    const Recipe& recipe = in_.recipe;
    ProgramInput out{.shape = in_.shape};
    out.samples = in_.samples;
    out.length = in_.length;
    out.unit_samples = unit_samples_;
    out.stages = stages_;
    out.replicas = replicas_;
    out.threads = in_.threads;
    out.accelerated = in_.machine.accelerated;
    out.true_sequential = recipe.true_sequential;
    out.propagates = propagates();
    out.sweeps = recipe.method != "rtn";
    out.search = recipe.mse;
    out.head = recipe.quantize_head;
    if (recipe.group_size > 0) out.code_bytes = 1 + 8.0 / static_cast<double>(recipe.group_size);
    out.plan = in_.plan;
    if (in_.plan == nullptr) {
      double bytes = 0;
      for (const std::string& format : recipe.formats) bytes += stored_bytes(recipe, format);
      const auto formats = static_cast<double>(recipe.formats.size());
      out.dense_bytes = formats * static_cast<double>(in_.shape.dense_values() * in_.shape.source_bytes);
      out.files = std::max(1.0, bytes * static_cast<double>(in_.shape.values()) / static_cast<double>(recipe.max_shard_bytes));
      out.stored = [this, bytes, formats](std::size_t layer, std::size_t b, std::size_t linear) {
        if (layer == in_.shape.layers.size())
          return Stored{formats, bytes * static_cast<double>(in_.shape.hidden * in_.shape.vocab)};
        const BlockShape& block = in_.shape.layers[layer].blocks[b];
        return Stored{formats, bytes * static_cast<double>(block.rows[linear] * block.cols)};
      };
      return out;
    }
    for (const SlabPlan& slab : in_.plan->slabs) {
      const auto o = static_cast<std::size_t>(slab.output);
      const FilePlan& file = in_.plan->files[o][static_cast<std::size_t>(slab.file)];
      const TensorPlan& tensor = file.tensors[static_cast<std::size_t>(slab.tensor)];
      if (slab.row_begin == 0) out.dense_bytes += static_cast<double>(tensor.bytes);
    }
    out.files = 0;
    for (const auto& files : in_.plan->files) out.files += static_cast<double>(files.size());
    out.stored = [codecs = codecs_by_module(*in_.outputs), bytes = bytes_by_module(in_.plan->files), modules = modules()](
                     std::size_t layer, std::size_t b, std::size_t linear) {
      const std::string& module = modules[layer][b][linear];
      const auto found = codecs.find(module);
      if (found == codecs.end()) return Stored{0, 0};
      return Stored{static_cast<double>(found->second.size()), static_cast<double>(bytes.at(module))};
    };
    return out;
  }

  // Names of the linears by layer and block, the head last.
  std::vector<std::vector<std::vector<std::string>>> modules() const {
    const ModelSpec& model = *in_.model_spec;
    std::vector<std::vector<std::vector<std::string>>> out;
    for (const LayerSpec& layer : model.layers) {
      out.emplace_back();
      for (const BlockSpec& block : layer.blocks) {
        out.back().emplace_back();
        for (const LinearSpec& linear : block.linears) out.back().back().push_back(linear.module);
      }
    }
    out.push_back({{model.head.module}});
    return out;
  }

  void add_files(PlanSummary& summary) const {
    if (in_.plan != nullptr) {
      for (std::size_t o = 0; o < in_.plan->files.size(); ++o)
        for (const FilePlan& file : in_.plan->files[o]) {
          const std::string folder = in_.plan->files.size() == 1 ? "" : (*in_.outputs)[o].label + "/";
          summary.files.emplace_back(folder + file.path, static_cast<double>(file.bytes));
        }
      return;
    }
    const auto dense = static_cast<double>(in_.shape.dense_values());
    for (const std::string& format : in_.recipe.formats)
      summary.files.emplace_back(format + " (by shape)",
                                 stored_bytes(in_.recipe, format) * (static_cast<double>(in_.shape.values()) - dense) +
                                     dense * static_cast<double>(in_.shape.source_bytes));
  }

  void add_memory(PlanSummary& summary) const {
    if (in_.plan != nullptr && !in_.machine.accelerated) {
      for (const RankCost& cost : in_.plan->costs) summary.memory.push_back(cost.memory_use);
      return;
    }
    const std::size_t layers = in_.shape.layers.size();
    const std::int64_t units = (in_.samples + unit_samples_ - 1) / unit_samples_;
    for (int rank = 0; rank < in_.ranks; ++rank) {
      const auto stage = static_cast<std::size_t>(rank / replicas_), stages = static_cast<std::size_t>(stages_);
      const std::int64_t replica = rank % replicas_;
      MemoryInput in{.shape = in_.shape};
      in.first = layers / stages * stage + std::min(stage, layers % stages);
      in.last = in.first + layers / stages + (stage < layers % stages ? 1 : 0);
      in.unit_tokens = unit_samples_ * in_.length;
      in.all_tokens = in_.samples * in_.length;
      in.tokens = std::min(in.all_tokens, (units / replicas_ + (replica < units % replicas_ ? 1 : 0)) * in.unit_tokens);
      in.replicas = replicas_;
      in.threads = in_.threads;
      in.true_sequential = in_.recipe.true_sequential;
      in.resident = in_.samples > 0 && stages_ > 1 && !propagates();
      in.head = in_.recipe.quantize_head && stage + 1 == stages;
      in.accelerated = in_.machine.accelerated;
      summary.memory.push_back(peak_memory(in));
    }
  }

  const ForecastInput& in_;
  int stages_;
  int replicas_;
  std::int64_t unit_samples_ = 1;
};

}  // namespace

Forecast forecast(const ForecastInput& input) { return Forecaster(input).run(); }

}  // namespace mpiquant
