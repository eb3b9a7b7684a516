#include "src/plan/estimate.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace mpiquant {
namespace {

// How a group of consecutive ranks lies on the nodes.
struct Spans {
  double nodes;    // it touches
  double on_node;  // of its ranks, at most
};
Spans spans(int first, int ranks, int per_node) {
  const int nodes = (first + ranks - 1) / per_node - first / per_node + 1;
  return {static_cast<double>(nodes), static_cast<double>(std::min(ranks, per_node))};
}

double log2_ceil(int ranks) { return std::bit_width(static_cast<unsigned>(ranks - 1)); }

class Estimator {
 public:
  Estimator(const Program& program, const Machine& machine, const Placement& placement)
      : program_(program), machine_(machine), placement_(placement) {
    const int ranks = program.stages * program.replicas;
    out_.busy.resize(static_cast<std::size_t>(ranks));
    rates_ = rates(ranks);
  }

  Estimate run() {
    const int ranks = program_.stages * program_.replicas;
    out_.seconds =
        steps(program_.before, 0, ranks) + (program_.streams() ? side_by_side() : one_by_one()) + steps(program_.after, 0, ranks);
    for (const PhaseSeconds& busy : out_.busy)
      out_.wait.push_back(std::max(0.0, out_.seconds - std::accumulate(busy.begin(), busy.end(), 0.0)));
    return std::move(out_);
  }

 private:
  double agreement(int first, int ranks) const {
    const Link& way = spans(first, ranks, placement_.per_node).nodes > 1 ? machine_.network : machine_.link;
    return log2_ceil(ranks) * way.latency;
  }

  // Rates of a worker while so many ranks use the file system.
  Amount rates(int active) const {
    return shared_rates(machine_, active, std::min(active, placement_.per_node), placement_.compute);
  }

  // Local seconds of `count` items, `each` seconds one, on the threads of one rank.
  double local(const Step& step, double each, std::int32_t count) const {
    const double threads = machine_.accelerated ? 1 : program_.threads;
    if (step.spread == Spread::kSerial) return each * count;
    if (step.spread == Spread::kDivisible) return each * count / threads;
    return each * std::ceil(count / threads);
  }

  double steps(const std::vector<Step>& steps, int first, int ranks) {
    double time = 0;
    // Seconds of each rank with files, when these overlap its work and each other.
    std::vector<double> reads(static_cast<std::size_t>(ranks), 0), writes = reads;
    for (const Step& step : steps) {
      const bool beside = placement_.overlap && (step.phase == Phase::kRead || step.phase == Phase::kWrite);
      double slowest = 0;
      int active = 0;
      for (std::size_t r = 0; r < reads.size(); ++r) active += step.items_of(r) > 0 ? 1 : 0;
      // Stages that work side by side share the file system, too.
      const int together = active * (program_.streams() && ranks == program_.replicas ? program_.stages : 1);
      const double each = active > 0 ? seconds(step.each, rates(together)) : 0;
      for (std::size_t r = 0; r < reads.size(); ++r) {
        const std::int32_t count = step.items_of(r);
        if (count == 0) continue;
        const double took = local(step, each, count);
        slowest = std::max(slowest, took);
        if (beside) (step.phase == Phase::kRead ? reads : writes)[r] += took;
        busy(first, r, step.phase) += took;
        out_.work += step.each * count;
      }
      if (!step.items.empty()) time += (beside ? 0 : slowest) + agreement(first, ranks);
      if (step.transfer == Transfer::kNone) continue;
      const double moving = transfer_seconds(step, first, ranks, machine_, placement_);
      for (std::size_t r = 0; r < reads.size(); ++r) busy(first, r, step.phase) += moving;
      time += moving;
      count_wire(step, first, ranks);
    }
    return std::max({time, std::ranges::max(reads), std::ranges::max(writes)});
  }

  double& busy(int first, std::size_t rank, Phase phase) {
    return out_.busy[static_cast<std::size_t>(first) + rank][static_cast<std::size_t>(phase)];
  }

  void count_wire(const Step& step, int first, int ranks) {
    const double bytes = wire_bytes(step, ranks);
    out_.wire[static_cast<std::size_t>(step.phase)] += bytes;
    const Spans on = spans(first, ranks, placement_.per_node);
    double away = on.nodes > 1 ? on.nodes / ranks : 0;  // of a ring's hops
    if (step.transfer == Transfer::kAllToAll && ranks > 1) away = (ranks - on.on_node) / (ranks - 1);
    if (step.transfer == Transfer::kNextStage)
      away = first / placement_.per_node != (first + ranks) / placement_.per_node ? 1 : 0;
    out_.between += bytes * away;
    out_.within += bytes * (1 - away);
  }

  // One stage after the other.
  double one_by_one() {
    double time = 0;
    for (int s = 0; s < program_.stages; ++s) time += before(s) + layers(s) + after(s);
    return time;
  }

  // Units stream through all stages; then each stage works on its own. A unit occupies a stage while it is received, passes its
  // layers and is sent; the slowest stage sets the pace.
  double side_by_side() {
    double prepared = 0, pace = 0, received = 0, end = 0;
    const HiddenStream& any = *program_.stage.front().stream;
    const double units = std::ranges::max(any.units);
    std::vector<double> reached;  // by stage: seconds until the first unit has left it
    double way = 0;
    for (int s = 0; s < program_.stages; ++s) {
      const HiddenStream& stream = *program_.stage[static_cast<std::size_t>(s)].stream;
      prepared = std::max(prepared, before(s));
      const double passes = seconds(stream.each, rates_);
      const bool last = s + 1 == program_.stages;
      Step step{Phase::kHidden, {}, {}, Spread::kItems, Transfer::kNextStage, stream.bytes};
      const double sent = last ? 0 : transfer_seconds(step, s * program_.replicas, program_.replicas, machine_, placement_);
      pace = std::max(pace, received + passes + sent);
      way += passes + sent;
      reached.push_back(way);
      for (int r = 0; r < program_.replicas; ++r) {
        const double mine = stream.units[static_cast<std::size_t>(r)];
        busy(s * program_.replicas, static_cast<std::size_t>(r), Phase::kForward) += mine * passes;
        busy(s * program_.replicas, static_cast<std::size_t>(r), Phase::kHidden) += mine * (received + sent);
        out_.work += stream.each * mine;
        step.bytes = stream.bytes * mine / program_.replicas;
        if (!last) count_wire(step, s * program_.replicas, program_.replicas);
      }
      received = sent;
    }
    for (int s = 0; s < program_.stages; ++s)
      end = std::max(end, prepared + reached[static_cast<std::size_t>(s)] + (units - 1) * pace + layers(s) + after(s));
    return end;
  }

  double before(int s) {
    return steps(program_.stage[static_cast<std::size_t>(s)].before, s * program_.replicas, program_.replicas);
  }
  double after(int s) {
    return steps(program_.stage[static_cast<std::size_t>(s)].after, s * program_.replicas, program_.replicas);
  }
  double layers(int s) {
    double time = 0;
    for (const std::vector<Step>& layer : program_.stage[static_cast<std::size_t>(s)].layers)
      time += steps(layer, s * program_.replicas, program_.replicas);
    return time;
  }

  const Program& program_;
  const Machine& machine_;
  const Placement& placement_;
  Amount rates_;
  Estimate out_;
};

}  // namespace

double wire_bytes(const Step& step, int ranks) {
  switch (step.transfer) {
    case Transfer::kNone: return 0;
    case Transfer::kAllGather:
    case Transfer::kReduce:
    case Transfer::kBroadcast: return (ranks - 1) * step.bytes;
    case Transfer::kGather: return (ranks - 1) * step.bytes / ranks;
    case Transfer::kAllToAll:
    case Transfer::kNextStage: return ranks * step.bytes;
  }
  return 0;
}

double transfer_seconds(const Step& step, int first, int ranks, const Machine& machine, const Placement& placement) {
  const Spans on = spans(first, ranks, placement.per_node);
  const bool away = on.nodes > 1;
  const double speed =
      away ? std::min(machine.link.bytes_per_second, machine.network.bytes_per_second) : machine.link.bytes_per_second;
  const double rounds = (ranks - 1) * (away ? machine.network.latency : machine.link.latency);
  const double piece = (ranks - 1) * step.bytes / ranks / speed;
  switch (step.transfer) {
    case Transfer::kNone: return 0;
    case Transfer::kAllGather:
    case Transfer::kGather: return piece + rounds;
    case Transfer::kReduce:
    case Transfer::kBroadcast: return 2 * (piece + rounds);
    case Transfer::kAllToAll: {
      if (ranks == 1) return 0;
      const double inside = step.bytes * (on.on_node - 1) / (ranks - 1), outside = step.bytes - inside;
      return inside / machine.link.bytes_per_second +
             (away ? std::max(outside / speed, on.on_node * outside / machine.network.bytes_per_second) : 0) + rounds;
    }
    case Transfer::kNextStage: {
      const bool leaves = first / placement.per_node != (first + ranks) / placement.per_node;
      if (!leaves) return step.bytes / machine.link.bytes_per_second + machine.link.latency;
      return std::max(step.bytes / machine.link.bytes_per_second, on.on_node * step.bytes / machine.network.bytes_per_second) +
             machine.network.latency;
    }
  }
  return 0;
}

Estimate estimate(const Program& program, const Machine& machine, const Placement& placement) {
  return Estimator(program, machine, placement).run();
}

}  // namespace mpiquant
