#include "src/plan/forecast.h"

#include <algorithm>
#include <map>
#include <optional>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/plan/cost.h"
#include "src/plan/output_choice.h"
#include "src/plan/rank_cost.h"
#include "src/plan/stages.h"

namespace mpiquant {
namespace {

// An output of a model that is known by its shape alone.
struct ShapedOutput {
  std::string label;
  Recipe recipe;  // of a run with this output alone
  std::optional<CodecSpec> codec;
  double stored_bytes;  // of a weight in its file, with its share of the group's parameters; the container's own extras are small
};

double stored_bytes(const std::string& format, const std::optional<CodecSpec>& codec) {
  if (format.starts_with("dense")) return 2;  // decoded values
  if (!codec) return format.ends_with("f32") ? 4 : 2;
  const double bits = codec->bits / 8.0;
  if (codec->group_size < 0) return bits;
  const double zero = codec->kind == CodecKind::kInt ? bits : codec->kind == CodecKind::kQ4_1 ? 2 : 0;
  return bits + (2 + zero) / static_cast<double>(codec->group_size);
}

std::vector<ShapedOutput> shaped_outputs(const Recipe& recipe, const PlanShape& shape) {
  ModelSpec model;  // containers store scales by its type
  model.dtype = shape.source_bytes == 4 ? DType::kF32 : DType::kBF16;
  std::vector<ShapedOutput> out;
  for (const OutputChoice& choice : recipe.outputs) {
    const Recipe own = recipe_of(recipe, choice);
    const std::optional<CodecSpec> codec = base_codec(choice.format, own, model);
    out.push_back({choice.label(), own, codec, stored_bytes(choice.format, codec)});
  }
  return out;
}

StoredVariant variant_of(const CodecSpec& codec, bool propagated) {
  return {propagated, codec.mse, codec.group_size > 0 ? 1 + 8.0 / static_cast<double>(codec.group_size) : 1};
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
    unit_samples_ = unit_samples(input.recipe, input.samples);
    if (input.plan == nullptr) shaped_ = shaped_outputs(input.recipe, input.shape);
    bounds_ = stage_layers();
  }

  Forecast run() {
    Forecast out;
    const ProgramInput program = program_input();
    out.program = make_program(program);
    // Files are read ahead and written behind by host threads, which on CPUs take the time of others.
    out.placement = {.per_node = std::min(in_.per_node, in_.ranks), .compute = in_.compute, .overlap = in_.machine.accelerated};
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
    summary.kept_hessians = in_.samples > 0 ? hessian_bytes() : 0;
    add_memory(summary);
    summary.memory_limit = in_.machine.accelerated ? in_.machine.rank_memory : in_.machine.node_memory / summary.per_node;
    summary.duties = duties_of(out.program);
    summary.estimate = estimate(out.program, in_.machine, out.placement);
    return out;
  }

 private:
  // First layer of each stage, and the number of layers.
  std::vector<std::size_t> stage_layers() const {
    std::vector<std::size_t> bounds;
    if (in_.plan != nullptr) {
      for (int stage = 0; stage < stages_; ++stage) bounds.push_back(static_cast<std::size_t>(in_.plan->layers_of(stage).first));
      bounds.push_back(in_.shape.layers.size());
      return bounds;
    }
    const std::int64_t tokens = in_.samples * in_.length;
    std::vector<LayerLoad> loads;
    for (const LayerShape& layer : in_.shape.layers)
      loads.push_back(layer_load(layer, tokens, in_.length, [](std::size_t) { return true; }));
    return stage_bounds(loads, has_head() ? head_load(in_.shape, tokens) : LayerLoad{}, stages_);
  }

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
    out.bounds = bounds_;
    out.replicas = replicas_;
    out.threads = in_.threads;
    out.accelerated = in_.machine.accelerated;
    out.true_sequential = recipe.true_sequential;
    out.propagates = propagates();
    out.sweeps = recipe.method != "rtn";
    out.corrects = in_.samples > 0 && recipe.gptaq_alpha > 0;
    out.head = has_head();
    out.forms = forms();
    out.plan = in_.plan;
    if (in_.plan == nullptr) {
      const auto outputs = static_cast<double>(shaped_.size());
      out.dense_bytes = outputs * static_cast<double>(in_.shape.dense_values() * in_.shape.source_bytes);
      out.files = 0;
      for (const ShapedOutput& output : shaped_)
        out.files +=
            output.stored_bytes * static_cast<double>(in_.shape.values()) / static_cast<double>(output.recipe.max_shard_bytes);
      out.files = std::max(out.files, outputs);
      out.stored = [this, linear = shaped_weight(false), head = shaped_weight(true)](std::size_t layer, std::size_t b,
                                                                                     std::size_t l) {
        Stored stored = layer == in_.shape.layers.size() ? head : linear;
        if (layer == in_.shape.layers.size()) {
          stored.bytes *= static_cast<double>(in_.shape.hidden * in_.shape.vocab);
        } else {
          const BlockShape& block = in_.shape.layers[layer].blocks[b];
          stored.bytes *= static_cast<double>(block.rows[l] * block.cols);
        }
        return stored;
      };
      return out;
    }
    for (const SlabPlan& slab : in_.plan->slabs) {
      if (slab.row_begin > 0) continue;
      for (const SlabTarget& target : slab.targets) out.dense_bytes += static_cast<double>(in_.plan->tensor_of(target).bytes);
    }
    out.files = 0;
    for (const auto& files : in_.plan->files) out.files += static_cast<double>(files.size());
    out.stored = [stored = stored_by_module(), modules = modules()](std::size_t layer, std::size_t b, std::size_t linear) {
      const auto found = stored.find(modules[layer][b][linear]);
      return found == stored.end() ? Stored{} : found->second;
    };
    return out;
  }

  int forms() const { return in_.outputs != nullptr ? count_forms(*in_.outputs) : 1; }

  bool has_head() const {
    if (in_.plan != nullptr) return in_.plan->head.has_value();
    return std::ranges::any_of(shaped_, [](const ShapedOutput& output) { return output.recipe.quantize_head; });
  }

  // Of one weight, or one of the head.
  Stored shaped_weight(bool head) const {
    const std::string& propagate = in_.recipe.propagate;
    Stored out;
    std::vector<CodecSpec> codecs;
    for (std::size_t o = 0; o < shaped_.size(); ++o) {
      const ShapedOutput& output = shaped_[o];
      if (!output.codec || (head && !output.recipe.quantize_head)) continue;
      const bool propagated = propagate.empty() ? o == 0 : propagate == output.label;
      out.bytes += output.stored_bytes;
      const auto same = std::ranges::find(codecs, *output.codec);
      if (same == codecs.end()) {
        codecs.push_back(*output.codec);
        out.variants.push_back(variant_of(*output.codec, propagated));
      } else if (propagated) {
        out.variants[static_cast<std::size_t>(same - codecs.begin())].propagated = true;
      }
    }
    return out;
  }

  std::map<std::string, Stored> stored_by_module() const {
    const auto propagated = propagated_output(in_.recipe, *in_.outputs);
    std::map<std::string, CodecSpec> passed_on;
    if (propagated)
      for (const LinearChoice& choice : (*in_.outputs)[*propagated].linears) passed_on[choice.linear.module] = choice.codec;
    const std::map<std::string, std::int64_t> bytes = bytes_by_module(in_.plan->files);
    std::map<std::string, Stored> out;
    for (const auto& [module, conversions] : conversions_by_module(*in_.outputs)) {
      Stored& stored = out[module];
      stored.bytes = static_cast<double>(bytes.at(module));
      const auto passed = passed_on.find(module);
      for (const Conversion& conversion : conversions)
        stored.variants.push_back(
            variant_of(conversion.codec, passed != passed_on.end() && passed->second == conversion.codec &&
                                             (*in_.outputs)[*propagated].transforms == conversion.transforms));
    }
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
          const std::string folder = in_.plan->files.size() == 1 ? "" : (*in_.outputs)[o].folder + "/";
          summary.files.emplace_back(folder + file.path, static_cast<double>(file.bytes));
        }
      return;
    }
    const auto dense = static_cast<double>(in_.shape.dense_values());
    for (const ShapedOutput& output : shaped_)
      summary.files.emplace_back(output.label + " (by shape)",
                                 output.stored_bytes * (static_cast<double>(in_.shape.values()) - dense) +
                                     dense * static_cast<double>(in_.shape.source_bytes));
  }

  // Of the canonical Hessians of all blocks, packed.
  double hessian_bytes() const {
    std::int64_t values = has_head() ? triangle(in_.shape.hidden) : 0;
    for (const LayerShape& layer : in_.shape.layers)
      for (const BlockShape& block : layer.blocks) values += triangle(block.cols) * block.experts;
    return 4.0 * static_cast<double>(values);
  }

  void add_memory(PlanSummary& summary) const {
    if (in_.plan != nullptr && !in_.machine.accelerated) {
      for (const RankCost& cost : in_.plan->costs) summary.memory.push_back(cost.memory_use);
      return;
    }
    const std::size_t layers = in_.shape.layers.size();
    const std::int64_t units = (in_.samples + unit_samples_ - 1) / unit_samples_;
    for (int rank = 0; rank < in_.ranks; ++rank) {
      const auto stage = static_cast<std::size_t>(rank / replicas_);
      const std::int64_t replica = rank % replicas_;
      MemoryInput in{.shape = in_.shape};
      in.first = bounds_[stage];
      in.last = bounds_[stage + 1];
      in.unit_tokens = unit_samples_ * in_.length;
      in.all_tokens = in_.samples * in_.length;
      in.tokens = std::min(in.all_tokens, (units / replicas_ + (replica < units % replicas_ ? 1 : 0)) * in.unit_tokens);
      in.replicas = replicas_;
      in.threads = in_.threads;
      in.true_sequential = in_.recipe.true_sequential || !propagates();
      in.corrects = in_.samples > 0 && in_.recipe.gptaq_alpha > 0;
      in.forms = forms();
      in.resident = in_.samples > 0 && stages_ > 1 && !propagates();
      in.head = has_head() && in.last == layers;
      in.accelerated = in_.machine.accelerated;
      in.rounds = in_.samples > 0 && !in.accelerated && in_.recipe.compute != ComputeType::kF32;
      summary.memory.push_back(peak_memory(in));
    }
  }

  const ForecastInput& in_;
  int stages_;
  int replicas_;
  std::int64_t unit_samples_ = 1;
  std::vector<ShapedOutput> shaped_;  // without a plan
  std::vector<std::size_t> bounds_;
};

}  // namespace

Forecast forecast(const ForecastInput& input) {
  check(input.recipe.gptaq_alpha == 0 || !input.machine.accelerated, ExitCode::kUsage,
        "gptaq_alpha on GPUs (there is no kernel for its cross moments yet) leave it away, or plan for CPUs");
  return Forecaster(input).run();
}

}  // namespace mpiquant
