#include "src/fleet/table.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "io/shared_file.h"
#include "src/fleet/outcome.h"

namespace mpiquant {
namespace {

std::string size_text(std::int64_t bytes) {
  if (bytes >= 1'000'000'000) return fmt::format("{:.2f} GB", static_cast<double>(bytes) / 1e9);
  if (bytes >= 1'000'000) return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
  return fmt::format("{:.1f} KB", static_cast<double>(bytes) / 1e3);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
  return fmt::format("{}:{:02} h", whole / 3600, whole / 60 % 60);
}

std::optional<double> rise(const FleetOutput& output) {
  if (!output.perplexity || !output.reference_perplexity) return std::nullopt;
  return *output.perplexity / *output.reference_perplexity - 1;
}

std::string state_word(const FleetJobView& view) {
  switch (view.record.state) {
    case JobState::kStarting:
    case JobState::kRunning: return "running";
    case JobState::kWaiting: return view.record.attempts > 0 ? "to be retried" : "waiting";
    default: return to_string(view.record.state);
  }
}

// A cell of Markdown: no line breaks, no bars.
std::string markdown_cell(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.insert(at, 1, '\\');
  return text;
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

}  // namespace

std::vector<FleetRow> fleet_rows(std::span<const FleetJobView> views) {
  std::vector<FleetRow> rows;
  for (const FleetJobView& view : views) {
    const bool done = view.record.state == JobState::kDone;
    if (!done) rows.push_back({&view, nullptr, state_word(view), {}});
    for (const FleetOutput& output : view.record.outputs) {
      if (!done) break;
      FleetRow row{&view, &output, "done", failed_gates(output, view.job.settings.gates)};
      if (!row.gates.empty()) row.state = "gate";
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

FleetCells fleet_cells(const FleetRow& row) {
  const FleetRecord& record = row.view->record;
  FleetCells cells;
  cells.model = row.view->job.family + " " + row.view->job.size;
  cells.recipe = row.view->job.recipe;
  if (row.output != nullptr) {
    const FleetOutput& output = *row.output;
    cells.output = output.label;
    cells.size = size_text(output.bytes);
    cells.bits = fmt::format("{:.3f}", output.bits_per_weight);
    if (output.perplexity) cells.perplexity = fmt::format("{:.4f}", *output.perplexity);
    if (const auto by = rise(output)) cells.rise = fmt::format("{:+.2f} %", 100 * *by);
    if (output.kl) cells.kl = fmt::format("{:.5f} ± {:.5f}", *output.kl, output.kl_error.value_or(0));
  }
  if (record.seconds > 0) {
    cells.time = duration_text(record.seconds);
    cells.node_hours = fmt::format("{:.3f}", record.node_seconds / 3600);
  }
  cells.state = row.state;
  if (record.state == JobState::kFailed) cells.state += fmt::format(" ({}): {}", record.exit_code, record.message);
  for (const std::string& gate : row.gates) cells.state += "; " + gate;
  if (row.state == "running")
    cells.state += row.view->holder.empty() ? ", watched by nobody" : fmt::format(", attempt {}", record.attempts);
  cells.log = record.log;
  return cells;
}

std::string fleet_summary(std::span<const FleetRow> rows) {
  std::map<std::string, int> counts;
  for (const FleetRow& row : rows) ++counts[row.state];
  std::string text;
  for (const char* state : {"done", "gate", "failed", "running", "to be retried", "waiting"})
    if (const auto found = counts.find(state); found != counts.end())
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", found->second, state);
  return text;
}

Json fleet_json(const FleetSpec& spec, std::span<const FleetRow> rows) {
  Json list = Json::array();
  for (const FleetRow& row : rows) {
    const FleetRecord& record = row.view->record;
    const FleetJob& job = row.view->job;
    Json line = {{"job", job.name()}, {"family", job.family}, {"size", job.size}, {"model", job.model}, {"recipe", job.recipe}};
    line["output"] = row.output != nullptr ? Json(row.output->label) : Json();
    if (row.output != nullptr) {
      line["path"] = row.output->path;
      line["bytes"] = row.output->bytes;
      line["bits_per_weight"] = row.output->bits_per_weight;
      line["perplexity"] = or_null(row.output->perplexity);
      line["reference_perplexity"] = or_null(row.output->reference_perplexity);
      line["perplexity_rise"] = or_null(rise(*row.output));
      line["kl_divergence"] = or_null(row.output->kl);
      line["kl_standard_error"] = or_null(row.output->kl_error);
      line["top1_agreement"] = or_null(row.output->top1);
    }
    line["state"] = row.state;
    line["failed_gates"] = row.gates;
    line["exit_code"] = record.exit_code;
    line["message"] = record.message;
    line["attempts"] = record.attempts;
    line["seconds"] = record.seconds;
    line["node_hours"] = record.node_seconds / 3600;
    line["log"] = record.log;
    list.push_back(std::move(line));
  }
  return {{"fleet", spec.name}, {"summary", fleet_summary(rows)}, {"rows", std::move(list)}};
}

std::string fleet_markdown(const FleetSpec& spec, std::span<const FleetRow> rows) {
  std::string text = fmt::format("# {}\n\n{}\n\n", spec.name, fleet_summary(rows));
  text +=
      "| model | recipe | output | size | bits per weight | perplexity | rise | KL divergence | time | node-hours | state | log "
      "|\n";
  text += "|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|\n";
  for (const FleetRow& row : rows) {
    const FleetCells cells = fleet_cells(row);
    for (const std::string& cell : {cells.model, cells.recipe, cells.output, cells.size, cells.bits, cells.perplexity, cells.rise,
                                    cells.kl, cells.time, cells.node_hours, cells.state, cells.log})
      text += "| " + markdown_cell(cell) + " ";
    text += "|\n";
  }
  return text;
}

std::string write_tables(const FleetSpec& spec, const std::vector<FleetJobView>& views, const std::string& before) {
  const std::vector<FleetRow> rows = fleet_rows(views);
  std::string json = fleet_json(spec, rows).dump(1) + "\n";
  if (json == before) return json;
  replace_shared_file(spec.state + "/table.json", json);
  replace_shared_file(spec.state + "/table.md", fleet_markdown(spec, rows));
  replace_shared_file(spec.state + "/table.html", fleet_html(spec, rows));
  return json;
}

ExitCode verdict(const std::vector<FleetJobView>& views) {
  bool gate = false;
  for (const FleetRow& row : fleet_rows(views)) {
    if (row.state == "failed") return static_cast<ExitCode>(row.view->record.exit_code);
    gate = gate || row.state == "gate";
  }
  return gate ? ExitCode::kGate : ExitCode::kDone;
}

}  // namespace mpiquant
