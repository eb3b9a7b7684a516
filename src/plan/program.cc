#include "src/plan/program.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "src/plan/cost.h"
#include "src/plan/value_bytes.h"

namespace mpiquant {
namespace {

constexpr std::array<std::string_view, kPhases> kNames = {"slabs",   "read",   "share",  "forward",   "exchange",
                                                          "hessian", "reduce", "factor", "broadcast", "sweep",
                                                          "parts",   "write",  "hidden", "publish"};

using Items = std::vector<std::int32_t>;

std::int64_t parts_of(std::int64_t rows) { return (rows + kPartRows - 1) / kPartRows; }

// Items dealt out in turn, so that over the whole run all replicas are within one of each other.
class Dealer {
 public:
  explicit Dealer(std::int64_t replicas) : replicas_(replicas) {}
  Items deal(std::int64_t items) {
    Items out;
    for (std::int64_t r = 0; r < replicas_; ++r)
      out.push_back(
          static_cast<std::int32_t>(items / replicas_ + ((r - next_ + replicas_) % replicas_ < items % replicas_ ? 1 : 0)));
    next_ = (next_ + items) % replicas_;
    return out;
  }
  int one() { return static_cast<int>(std::exchange(next_, (next_ + 1) % replicas_)); }

 private:
  std::int64_t replicas_;
  std::int64_t next_ = 0;
};

class Builder {
 public:
  explicit Builder(const ProgramInput& input)
      : in_(input), replicas_(input.replicas), parts_(replicas_), owners_(replicas_), writers_(replicas_) {
    unit_tokens_ = static_cast<double>(input.unit_samples * input.length);
    if (input.plan == nullptr) {
      units_ = Dealer(replicas_).deal((input.samples + input.unit_samples - 1) / input.unit_samples);
    } else {
      units_.assign(static_cast<std::size_t>(replicas_), 0);
      double tokens = 0;
      for (const UnitPlan& unit : input.plan->units) {
        ++units_[static_cast<std::size_t>(unit.replica)];
        tokens += static_cast<double>(unit.tokens);
      }
      if (!input.plan->units.empty()) unit_tokens_ = tokens / static_cast<double>(input.plan->units.size());
    }
    most_units_ = std::ranges::max(units_);
    all_units_ = std::accumulate(units_.begin(), units_.end(), 0);
  }

  Program build() {
    Program out{in_.stages(), in_.replicas, in_.threads, {}, {}, {}, units_};
    const double ranks = in_.stages() * in_.replicas;
    out.before.push_back(alone(Phase::kSlabs, copy_work(in_.dense_bytes / ranks, in_.dense_bytes / ranks)));
    for (std::size_t s = 0; s + 1 < in_.bounds.size(); ++s)
      out.stage.push_back(stage(in_.bounds[s], in_.bounds[s + 1], s == 0, s + 2 == in_.bounds.size()));
    // Each file is summed by one rank, which follows the layers that take their time.
    Amount sums;
    const double head =
        in_.head || in_.shape.tied ? 0 : static_cast<double>(in_.shape.vocab * in_.shape.hidden * in_.shape.source_bytes);
    const bool follows = calibrated() && (in_.stages() == 1 || in_.files >= in_.stages());
    sums[Op::kSum] = sums[Op::kRead] = follows ? written_last_ + head : written_ + in_.dense_bytes;
    const double writers = std::min(ranks, std::max(1.0, in_.files));
    Step publish = alone(Phase::kPublish, sums * (1 / writers));
    publish.items.assign(static_cast<std::size_t>(ranks), 0);
    std::fill_n(publish.items.begin(), static_cast<std::size_t>(writers), 1);
    out.after.push_back(std::move(publish));
    return out;
  }

 private:
  bool calibrated() const { return all_units_ > 0; }
  double weight_bytes() const { return in_.accelerated ? kHalf : kFloat; }

  // The same work on every rank of the group, on one thread.
  static Step alone(Phase phase, const Amount& work) { return {phase, work, {1}, Spread::kSerial}; }
  static Step move(Phase phase, Transfer transfer, double bytes, int root = 0) {
    return {phase, {}, {}, Spread::kItems, transfer, bytes, root};
  }
  Step on_units(Phase phase, const Amount& each, Spread spread = Spread::kItems) const { return {phase, each, units_, spread}; }
  Step at(int replica, Phase phase, const Amount& work, Spread spread) const {
    Step step{phase, work, Items(static_cast<std::size_t>(replicas_), 0), spread};
    step.items[static_cast<std::size_t>(replica)] = 1;
    return step;
  }

  std::vector<Step> read_layer(const LayerShape& layer) {
    double common = 0, own = 0;  // weights that every replica needs; those of the experts it owns
    for (const BlockShape& block : layer.blocks) {
      const auto weights = static_cast<double>(block.weights());
      const std::int64_t mine = (block.experts + replicas_ - 1) / replicas_;
      if (block.routed())
        own += weights / static_cast<double>(block.experts) * static_cast<double>(mine);
      else
        common += weights;
    }
    const auto source = static_cast<double>(in_.shape.source_bytes), replicas = static_cast<double>(replicas_);
    std::vector<Step> steps = {alone(Phase::kRead, read_work(common / replicas + own, source))};
    const double forms = in_.forms;
    if (replicas_ > 1) steps.push_back(move(Phase::kShare, Transfer::kAllGather, forms * common * weight_bytes()));
    steps.push_back(alone(Phase::kShare, upload_work(forms * (common + own), weight_bytes())));
    return steps;
  }

  // Tokens of a unit that meet one copy of a block on their rank: experts get theirs from all replicas, so that all
  // of an expert's tokens are one item.
  double tokens_at(const BlockShape& block) const {
    return block.routed() ? unit_tokens_ * static_cast<double>(all_units_) * block.share() : unit_tokens_;
  }
  Items copies(const BlockShape& block) const { return block.routed() ? Dealer(replicas_).deal(block.experts) : units_; }

  Step forward(const LayerShape& layer, std::size_t b) const {
    const BlockShape& block = layer.blocks[b];
    const double length = static_cast<double>(in_.length);
    return {Phase::kForward, forward_work(layer, b, tokens_at(block), length), copies(block), Spread::kItems};
  }

  void exchange(std::vector<Step>& steps, const BlockShape& block) const {
    if (replicas_ == 1) return;
    const double tokens = unit_tokens_ * most_units_ * static_cast<double>(block.chosen);
    const double elsewhere = static_cast<double>(replicas_ - 1) / static_cast<double>(replicas_);
    steps.push_back(
        move(Phase::kExchange, Transfer::kAllToAll, tokens * static_cast<double>(in_.shape.hidden) * weight_bytes() * elsewhere));
  }

  void factor(std::vector<Step>& steps, const BlockShape& block, const BlockPlan* plan) {
    const Amount hessian = hessian_work(block.cols, tokens_at(block)), factors = factor_work(block.cols);
    steps.push_back({Phase::kHessian, hessian, copies(block), Spread::kDivisible});
    if (block.routed()) {
      steps.push_back({Phase::kFactor, factors, copies(block), Spread::kDivisible});
      return;
    }
    const int owner = plan != nullptr ? plan->hessian_owner : owners_.one();
    const auto values = static_cast<double>(triangle(block.cols));
    if (replicas_ > 1) steps.push_back(move(Phase::kReduce, Transfer::kReduce, values * kSum, owner));
    for (int form = 0; form < in_.forms; ++form) {
      steps.push_back(at(owner, Phase::kFactor, factors, Spread::kDivisible));
      if (replicas_ > 1) steps.push_back(move(Phase::kBroadcast, Transfer::kBroadcast, values * kFloat, owner));
    }
    if (in_.corrects) correction(steps, block, owner);
  }

  void correction(std::vector<Step>& steps, const BlockShape& block, int owner) const {
    const auto values = static_cast<double>(block.cols * block.cols);
    steps.push_back({Phase::kHessian, cross_work(block.cols, tokens_at(block)), units_, Spread::kDivisible});
    if (replicas_ > 1) steps.push_back(move(Phase::kReduce, Transfer::kReduce, values * kSum, owner));
    steps.push_back(at(owner, Phase::kFactor, correction_work(block.cols), Spread::kDivisible));
    if (replicas_ > 1) steps.push_back(move(Phase::kBroadcast, Transfer::kBroadcast, values * kFloat, owner));
  }

  // Parts of one linear by replica.
  Items parts_by_replica(const BlockShape& block, std::size_t linear, const BlockPlan* plan) {
    if (block.routed()) {
      Items items = copies(block);
      for (std::int32_t& count : items) count *= static_cast<std::int32_t>(parts_of(block.rows[linear]));
      return items;
    }
    if (plan == nullptr) return parts_.deal(parts_of(block.rows[linear]));
    Items items(static_cast<std::size_t>(replicas_), 0);
    for (const PartPlan& part : plan->parts)
      if (part.linear == static_cast<int>(linear)) ++items[static_cast<std::size_t>(part.replica)];
    return items;
  }

  void convert(std::vector<Step>& steps, const BlockShape& block, std::size_t layer, std::size_t b, const BlockPlan* plan) {
    for (std::size_t l = 0; l < block.rows.size(); ++l) {
      const Stored stored = in_.stored(layer, b, l);
      Items parts = parts_by_replica(block, l, plan);
      const int writer = plan != nullptr ? plan->writers[l] : writers_.one();
      if (stored.variants.empty()) continue;
      const double most = std::ranges::max(parts);
      if (in_.accelerated)
        for (std::int32_t& count : parts) count = std::min(count, 1);
      const auto weights = static_cast<double>(block.rows[l] * block.cols);
      bool to_all = false;
      for (const StoredVariant& variant : stored.variants) {
        Amount each = in_.sweeps ? sweep_work(block.cols, variant.search) : encode_work(block.cols, variant.search);
        if (in_.corrects) each += corrected_work(block.cols);
        if (in_.accelerated) {  // all parts of a rank move through the columns together
          const double columns = each[Op::kColumn];
          each = each * most;
          each[Op::kColumn] = columns;
        }
        steps.push_back({Phase::kSweep, each, parts, Spread::kItems});
        steps.back().parts = in_.accelerated ? static_cast<std::int32_t>(most) : 1;
        const bool shared = variant.propagated && in_.propagates && calibrated();
        to_all = to_all || shared;
        if (replicas_ > 1 && !block.routed())
          steps.push_back(
              move(Phase::kParts, shared ? Transfer::kAllGather : Transfer::kGather, weights * variant.code_bytes, writer));
      }
      const Amount decode = decode_work(weights),
                   write = write_work(weights * static_cast<double>(stored.variants.size()), stored.bytes);
      if (block.routed()) {
        if (to_all) steps.push_back({Phase::kParts, decode, copies(block), Spread::kDivisible});
        steps.push_back({Phase::kWrite, write, copies(block), Spread::kItems});
      } else {
        if (to_all) steps.push_back({Phase::kParts, decode, {1}, Spread::kDivisible});
        steps.push_back(at(writer, Phase::kWrite, write, Spread::kSerial));
      }
      const double bytes = stored.bytes * static_cast<double>(block.experts);
      written_ += bytes;
      if (layer + 1 >= in_.shape.layers.size()) written_last_ += bytes;
    }
  }

  // forward_whole: some later step needs the output of the layer.
  std::vector<Step> layer_steps(std::size_t index, bool resident, bool forward_whole) {
    const LayerShape& layer = in_.shape.layers[index];
    const auto plan_of = [&](std::size_t b) { return in_.plan != nullptr ? &in_.plan->layers[index].blocks[b] : nullptr; };
    std::vector<Step> steps;
    if (!resident) steps = read_layer(layer);
    if (!calibrated()) {
      for (std::size_t b = 0; b < layer.blocks.size(); ++b) convert(steps, layer.blocks[b], index, b, plan_of(b));
      return steps;
    }
    const bool again = !in_.true_sequential && in_.propagates;
    steps.push_back(on_units(Phase::kForward, norm_work(unit_tokens_, in_.shape.hidden)));
    if (in_.corrects) steps.push_back(steps.back());
    for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
      const BlockShape& block = layer.blocks[b];
      const bool enters = block.routed() && !layer.blocks[b - 1].routed();
      const bool leaves = block.routed() && (b + 1 == layer.blocks.size() || !layer.blocks[b + 1].routed());
      if (enters) exchange(steps, block);
      factor(steps, block, plan_of(b));
      if (in_.corrects && (b + 1 < layer.blocks.size() || forward_whole)) steps.push_back(forward(layer, b));
      if (!again) convert(steps, block, index, b, plan_of(b));
      if (b + 1 == layer.blocks.size() && (again || !forward_whole)) break;
      steps.push_back(forward(layer, b));
      if (leaves) exchange(steps, block);
    }
    if (!again) return steps;
    for (std::size_t b = 0; b < layer.blocks.size(); ++b) convert(steps, layer.blocks[b], index, b, plan_of(b));
    if (!forward_whole) return steps;
    steps.push_back(on_units(Phase::kForward, norm_work(unit_tokens_, in_.shape.hidden)));
    for (std::size_t b = 0; b < layer.blocks.size(); ++b) {
      const BlockShape& block = layer.blocks[b];
      const bool edge = block.routed() && (!layer.blocks[b - 1].routed() || b + 1 == layer.blocks.size());
      if (edge) exchange(steps, block);
      steps.push_back(forward(layer, b));
    }
    return steps;
  }

  double hidden_bytes() const { return unit_tokens_ * static_cast<double>(in_.shape.hidden) * kFloat; }

  HiddenStream stream(std::size_t first, std::size_t last) const {
    HiddenStream out{{}, units_, hidden_bytes()};
    for (std::size_t l = first; l < last; ++l) {
      const LayerShape& layer = in_.shape.layers[l];
      out.each += norm_work(unit_tokens_, in_.shape.hidden);
      for (std::size_t b = 0; b < layer.blocks.size(); ++b)
        out.each +=
            forward_work(layer, b, unit_tokens_ * static_cast<double>(layer.blocks[b].chosen), static_cast<double>(in_.length));
    }
    return out;
  }

  StageProgram stage(std::size_t first, std::size_t last, bool first_stage, bool last_stage) {
    StageProgram out;
    const bool streams = calibrated() && !in_.propagates && in_.stages() > 1;
    if (streams) {
      for (std::size_t l = first; l < last; ++l)
        for (Step& step : read_layer(in_.shape.layers[l])) out.before.push_back(std::move(step));
      out.stream = stream(first, last);
      if (last_stage) out.stream->each = {};
    }
    if (calibrated() && first_stage) {
      // Rows of the embedding for a replica's tokens come from the ranks that carry it over.
      const double rows = std::min(unit_tokens_ * most_units_, static_cast<double>(in_.shape.vocab));
      const double elsewhere = static_cast<double>(replicas_ - 1) / static_cast<double>(replicas_);
      if (replicas_ > 1)
        out.before.push_back(
            move(Phase::kSlabs, Transfer::kAllToAll, rows * static_cast<double>(in_.shape.hidden) * kFloat * elsewhere));
      out.before.push_back(on_units(Phase::kForward, norm_work(unit_tokens_, in_.shape.hidden), Spread::kSerial));
    }
    for (std::size_t l = first; l < last; ++l)
      out.layers.push_back(layer_steps(l, streams, l + 1 < last || (last_stage ? in_.head : !streams)));
    if (calibrated() && !streams && !last_stage)
      out.after.push_back(move(Phase::kHidden, Transfer::kNextStage, hidden_bytes() * most_units_ * (in_.corrects ? 2 : 1)));
    if (in_.head && last_stage) head(out.after);
    return out;
  }

  void head(std::vector<Step>& steps) {
    LayerShape layer;
    layer.blocks = {{"head", in_.shape.hidden, {in_.shape.vocab}}};
    const BlockPlan* plan = in_.plan != nullptr && in_.plan->head ? &in_.plan->head->blocks.front() : nullptr;
    for (Step& step : read_layer(layer)) steps.push_back(std::move(step));
    if (calibrated()) {
      steps.push_back(on_units(Phase::kForward, norm_work(unit_tokens_, in_.shape.hidden)));
      if (in_.corrects) steps.push_back(steps.back());
      factor(steps, layer.blocks.front(), plan);
    }
    convert(steps, layer.blocks.front(), in_.shape.layers.size(), 0, plan);
  }

  const ProgramInput& in_;
  std::int64_t replicas_;
  Dealer parts_, owners_, writers_;
  Items units_;  // by replica
  double unit_tokens_ = 0;
  std::int32_t most_units_ = 0, all_units_ = 0;
  double written_ = 0;       // quantized bytes
  double written_last_ = 0;  // of the last layer and a quantized head
};

}  // namespace

std::string_view to_string(Phase phase) { return kNames[static_cast<std::size_t>(phase)]; }

Program make_program(const ProgramInput& input) { return Builder(input).build(); }

}  // namespace mpiquant
