#include "src/plan/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace mpiquant {
namespace {

constexpr std::size_t kListedFiles = 6;

std::string bytes(double value) {
  for (const auto& [unit, name] :
       {std::pair(1e15, "PB"), std::pair(1e12, "TB"), std::pair(1e9, "GB"), std::pair(1e6, "MB"), std::pair(1e3, "kB")})
    if (value >= unit) return fmt::format("{:.3g} {}", value / unit, name);
  return fmt::format("{:.0f} B", value);
}

std::string duration(double seconds) {
  if (seconds < 1e-6) return "0 s";
  if (seconds >= 7200) return fmt::format("{:.1f} h", seconds / 3600);
  if (seconds >= 120) return fmt::format("{:.1f} min", seconds / 60);
  return fmt::format("{:.3g} s", seconds);
}

// "3" or "3..5" over a range of ranks.
template <typename Value>
std::string range(const PlanSummary& summary, std::size_t first, const Value& value) {
  auto low = value(first), high = low;
  for (std::size_t r = first; r < first + static_cast<std::size_t>(summary.replicas); ++r) {
    low = std::min(low, value(r));
    high = std::max(high, value(r));
  }
  return low == high ? fmt::format("{}", low) : fmt::format("{}..{}", low, high);
}

std::string who(const PlanSummary& summary) {
  std::string out = fmt::format("\n{:<6} {:<10} {:<12} {:>8} {:>12} {:>10} {:>10} {:>10} {:>10}\n", "stage", "layers", "ranks",
                                "units", "parts", "Hessians", "writes", "busy", "waits");
  std::int64_t layer = 0;
  for (int s = 0; s < summary.stages; ++s) {
    const std::int64_t count = summary.layers / summary.stages + (s < summary.layers % summary.stages ? 1 : 0);
    const std::size_t first = static_cast<std::size_t>(s) * static_cast<std::size_t>(summary.replicas);
    const auto busy = [&](std::size_t r) {
      return std::accumulate(summary.estimate.busy[r].begin(), summary.estimate.busy[r].end(), 0.0);
    };
    double most = 0, waits = 0;
    for (std::size_t r = first; r < first + static_cast<std::size_t>(summary.replicas); ++r) {
      most = std::max(most, busy(r));
      waits = std::max(waits, summary.estimate.wait[r]);
    }
    out += fmt::format(
        "{:<6} {:<10} {:<12} {:>8} {:>12} {:>10} {:>10} {:>10} {:>10}\n", s, fmt::format("{}..{}", layer, layer + count - 1),
        fmt::format("{}..{}", first, first + static_cast<std::size_t>(summary.replicas) - 1),
        range(summary, first, [&](std::size_t r) { return summary.duties[r].units; }),
        range(summary, first, [&](std::size_t r) { return summary.duties[r].parts; }),
        range(summary, first, [&](std::size_t r) { return summary.duties[r].hessians; }),
        range(summary, first, [&](std::size_t r) { return summary.duties[r].linears; }), duration(most), duration(waits));
    layer += count;
  }
  return out;
}

std::string memory(const PlanSummary& summary) {
  const std::size_t rank = neediest(summary);
  const MemoryUse& use = summary.memory[rank];
  std::string out = fmt::format("\nmemory  {} at most (rank {})", bytes(static_cast<double>(use.total())), rank);
  if (summary.memory_limit > 0) out += fmt::format(" of {}", bytes(summary.memory_limit));
  out += ":";
  const Json parts = to_json(use);
  for (const auto& [name, value] : parts.items()) {
    const double of = value.get<double>();
    if (of > 0) out += fmt::format(" {} {},", name, bytes(of));
  }
  out.back() = '\n';
  return out;
}

std::string phases(const PlanSummary& summary) {
  std::string out = fmt::format("\n{:<11} {:>12} {:>12} {:>14}\n", "phase", "mean", "slowest", "on the wire");
  for (std::size_t p = 0; p < kPhases; ++p) {
    double sum = 0, most = 0;
    for (const PhaseSeconds& busy : summary.estimate.busy) {
      sum += busy[p];
      most = std::max(most, busy[p]);
    }
    const double wire = summary.estimate.wire[p];
    if (most == 0 && wire == 0) continue;
    out += fmt::format("{:<11} {:>12} {:>12} {:>14}\n", to_string(static_cast<Phase>(p)),
                       duration(sum / static_cast<double>(summary.estimate.busy.size())), duration(most),
                       wire > 0 ? bytes(wire) : "");
  }
  const double wire = std::accumulate(summary.estimate.wire.begin(), summary.estimate.wire.end(), 0.0);
  out +=
      fmt::format("{:<11} {:>12} {:>12} {:>14}\n", "total", "", duration(summary.estimate.seconds), wire > 0 ? bytes(wire) : "");
  return out;
}

}  // namespace

std::vector<Duty> duties_of(const Program& program) {
  std::vector<Duty> out(static_cast<std::size_t>(program.stages * program.replicas));
  for (std::size_t s = 0; s < program.stage.size(); ++s)
    for (std::size_t r = 0; r < static_cast<std::size_t>(program.replicas); ++r) {
      Duty& duty = out[s * static_cast<std::size_t>(program.replicas) + r];
      const auto add = [&](const std::vector<Step>& steps) {
        for (const Step& step : steps) {
          if (step.phase == Phase::kSweep) duty.parts += std::int64_t{step.items_of(r)} * step.parts;
          if (step.phase == Phase::kFactor) duty.hessians += step.items_of(r);
          if (step.phase == Phase::kWrite) duty.linears += step.items_of(r);
        }
      };
      for (const auto& layer : program.stage[s].layers) add(layer);
      add(program.stage[s].after);
      duty.units = program.units.empty() ? 0 : program.units[r];
    }
  return out;
}

std::size_t neediest(const PlanSummary& summary) {
  const auto most = std::ranges::max_element(summary.memory, {}, &MemoryUse::total);
  return static_cast<std::size_t>(most - summary.memory.begin());
}

double memory_lacking(const PlanSummary& summary) {
  if (summary.memory_limit <= 0) return 0;
  return std::max(0.0, static_cast<double>(summary.memory[neediest(summary)].total()) - summary.memory_limit);
}

std::string to_text(const PlanSummary& summary) {
  const int ranks = summary.stages * summary.replicas;
  std::string out = fmt::format("model   {} ({}, {} layers, {:.4g} B parameters)\n", summary.model, summary.architecture,
                                summary.layers, static_cast<double>(summary.parameters) / 1e9);
  if (!summary.quantizable) out += "        planned by its shape; this version cannot quantize it\n";
  out += fmt::format("ranks   {} = {} stage{} × {} replicas, {} thread{} each, on {} node{} × {}\n", ranks, summary.stages,
                     summary.stages == 1 ? "" : "s", summary.replicas, summary.threads, summary.threads == 1 ? "" : "s",
                     summary.nodes, summary.nodes == 1 ? "" : "s", summary.per_node);
  if (summary.samples > 0)
    out += fmt::format("text    {} samples × {} tokens in {} units\n", summary.samples, summary.length, summary.units);
  out += fmt::format("machine {}\n", summary.machine);
  if (!summary.plan_hash.empty()) out += fmt::format("plan    {}\n", summary.plan_hash);
  out += who(summary) + memory(summary) + phases(summary);
  double total = 0;
  for (const auto& [path, size] : summary.files) total += size;
  out += fmt::format("\non disk {} in {} file{}\n", bytes(total), summary.files.size(), summary.files.size() == 1 ? "" : "s");
  for (std::size_t f = 0; f < std::min(summary.files.size(), kListedFiles); ++f)
    out += fmt::format("  {:>10}  {}\n", bytes(summary.files[f].second), summary.files[f].first);
  if (summary.files.size() > kListedFiles) out += fmt::format("  {} more\n", summary.files.size() - kListedFiles);
  if (summary.kept_hessians > 0) out += fmt::format("  {:>10}  more with --keep-hessians\n", bytes(summary.kept_hessians));
  return out;
}

Json to_json(const PlanSummary& summary) {
  Json files = Json::array(), ranks = Json::array();
  for (const auto& [path, size] : summary.files) files.push_back({{"path", path}, {"bytes", size}});
  Json wire = Json::object(), work = Json::object();
  for (std::size_t p = 0; p < kPhases; ++p)
    if (summary.estimate.wire[p] > 0) wire[std::string(to_string(static_cast<Phase>(p)))] = summary.estimate.wire[p];
  for (const OpInfo& info : ops()) work[std::string(info.name)] = summary.estimate.work[info.op];
  for (std::size_t r = 0; r < summary.duties.size(); ++r) {
    Json seconds = Json::object();
    for (std::size_t p = 0; p < kPhases; ++p)
      if (summary.estimate.busy[r][p] > 0) seconds[std::string(to_string(static_cast<Phase>(p)))] = summary.estimate.busy[r][p];
    const Duty& duty = summary.duties[r];
    ranks.push_back({{"stage", static_cast<int>(r) / summary.replicas},
                     {"units", duty.units},
                     {"parts", duty.parts},
                     {"hessians", duty.hessians},
                     {"linears_written", duty.linears},
                     {"memory", summary.memory[r].total()},
                     {"memory_use", to_json(summary.memory[r])},
                     {"seconds", seconds},
                     {"wait", summary.estimate.wait[r]}});
  }
  return {{"model", summary.model},
          {"architecture", summary.architecture},
          {"parameters", summary.parameters},
          {"quantizable", summary.quantizable},
          {"plan", summary.plan_hash},
          {"machine", summary.machine},
          {"nodes", summary.nodes},
          {"ranks_per_node", summary.per_node},
          {"stages", summary.stages},
          {"replicas", summary.replicas},
          {"threads", summary.threads},
          {"units", summary.units},
          {"kept_hessian_bytes", summary.kept_hessians},
          {"seconds", summary.estimate.seconds},
          {"memory", summary.memory[neediest(summary)].total()},
          {"memory_limit", summary.memory_limit},
          {"files", files},
          {"wire", wire},
          {"wire_between_nodes", summary.estimate.between},
          {"work", work},
          {"ranks", ranks}};
}

}  // namespace mpiquant
