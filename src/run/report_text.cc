#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "src/run/report_file.h"
#include "src/run/terminal_text.h"

namespace mpiquant {
namespace {

constexpr std::size_t kShownRanks = 8;  // with a column each

std::vector<double> seconds_of(const ReportFile& report, const std::string& phase) {
  std::vector<double> values;
  for (const ReportedRank& rank : report.ranks) {
    const auto found = rank.seconds.find(phase);
    values.push_back(found == rank.seconds.end() ? 0 : found->second);
  }
  return values;
}

std::string phase_table(const ReportFile& report) {
  std::vector<std::string> heads = {"phase", "mean s", "max s", "slowest", "max/mean"};
  const bool each = report.ranks.size() > 1 && report.ranks.size() <= kShownRanks;
  for (std::size_t rank = 0; each && rank < report.ranks.size(); ++rank) heads.push_back(fmt::format("rank {}", rank));
  const bool with_bytes = std::ranges::any_of(report.ranks, [](const ReportedRank& rank) { return !rank.bytes.empty(); });
  if (with_bytes) heads.emplace_back("bytes");
  TextTable table(heads);
  for (const std::string& phase : report.phases()) {
    const std::vector<double> values = seconds_of(report, phase);
    const auto slowest = std::ranges::max_element(values);
    std::vector<std::string> row = {
        printable(phase),
        fmt::format("{:.3f}", std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size())),
        fmt::format("{:.3f}", *slowest), fmt::format("rank {}", slowest - values.begin()),
        fmt::format("{:.2f}", balance(values))};
    for (std::size_t rank = 0; each && rank < values.size(); ++rank) row.push_back(fmt::format("{:.3f}", values[rank]));
    if (with_bytes) {
      double sum = 0;
      for (const ReportedRank& rank : report.ranks)
        if (const auto found = rank.bytes.find(phase); found != rank.bytes.end()) sum += static_cast<double>(found->second);
      row.push_back(shown_bytes(static_cast<std::int64_t>(std::min(sum, 9e18))));
    }
    table.add(std::move(row));
  }
  return table.text();
}

bool is_memory_or_bytes(const std::string& name) {
  return name.find("bytes") != std::string::npos || name.find("memory") != std::string::npos;
}

std::string shown_amount(const std::string& name, std::int64_t value) {
  return is_memory_or_bytes(name) ? shown_bytes(value) : std::to_string(value);
}

// What each rank did; beside a planned amount its share of the plan.
std::string amount_table(const ReportFile& report) {
  std::set<std::string> names;
  for (const ReportedRank& rank : report.ranks)
    for (const auto& [name, value] : rank.amounts) names.insert(name);
  TextTable table({"amount", "least", "most", "max/mean", "of plan"});
  for (const std::string& name : names) {
    std::vector<double> values;
    double planned = 0;
    double done = 0;
    std::int64_t least = INT64_MAX;
    std::int64_t most = 0;
    for (std::size_t rank = 0; rank < report.ranks.size(); ++rank) {
      const auto found = report.ranks[rank].amounts.find(name);
      const std::int64_t value = found == report.ranks[rank].amounts.end() ? 0 : found->second;
      values.push_back(static_cast<double>(value));
      least = std::min(least, value);
      most = std::max(most, value);
      if (rank >= report.plan.size()) continue;
      const auto cost = report.plan[rank].find(name == "peak_memory" ? "memory" : name);
      if (cost == report.plan[rank].end()) continue;
      planned += static_cast<double>(cost->second);
      done += static_cast<double>(value);
    }
    table.add({printable(name), shown_amount(name, least), shown_amount(name, most), fmt::format("{:.2f}", balance(values)),
               planned > 0 ? fmt::format("{:.1f} %", 100 * done / planned) : "-"});
  }
  return table.text();
}

std::string tensor_table(const ReportFile& report) {
  TextTable table({"tensor", "codec", "error", "damping", "retries", "dead columns", "clamped scales", "outputs"});
  for (const ReportedTensor& tensor : report.tensors)
    table.add({printable(tensor.module), printable(tensor.codec), fmt::format("{:.3e}", tensor.error),
               fmt::format("{:g}", tensor.damp_percent), std::to_string(tensor.damp_retries), std::to_string(tensor.dead_columns),
               std::to_string(tensor.clamped_scales), printable(tensor.outputs)});
  return table.text();
}

}  // namespace

std::string to_text(const ReportFile& report) {
  std::string text =
      fmt::format("{} → {}\n{:.1f} s on {} rank{}, {} stage{} of {} replica{}\n\n", printable(report.model),
                  printable(report.output), report.seconds, report.ranks.size(), report.ranks.size() == 1 ? "" : "s",
                  report.stages, report.stages == 1 ? "" : "s", report.replicas, report.replicas == 1 ? "" : "s");
  text += phase_table(report) + "\n" + amount_table(report);
  if (!report.tensors.empty()) text += "\n" + tensor_table(report);
  text += report.fallbacks.empty() ? "\nno fallbacks\n" : fmt::format("\n{} fallbacks\n", report.fallbacks.size());
  for (const std::string& fallback : report.fallbacks) text += "  " + printable(fallback) + "\n";
  return text;
}

}  // namespace mpiquant
