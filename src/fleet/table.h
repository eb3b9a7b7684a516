#pragma once

#include <span>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/fleet/fleet.h"

namespace mpiquant {

// A line of a fleet's table: one output of a job, or a job that has none yet.
struct FleetRow {
  const FleetJobView* view;
  const FleetOutput* output;       // nullptr: none
  std::string state;               // "waiting", "running", "done", "gate", "failed", "to be retried"
  std::vector<std::string> gates;  // that it fails
};
std::vector<FleetRow> fleet_rows(std::span<const FleetJobView> views);

Json fleet_json(const FleetSpec& spec, std::span<const FleetRow> rows);
std::string fleet_markdown(const FleetSpec& spec, std::span<const FleetRow> rows);
// One file with style and plots in it; it loads nothing.
std::string fleet_html(const FleetSpec& spec, std::span<const FleetRow> rows);

// How many jobs are in which state, in words.
std::string fleet_summary(std::span<const FleetRow> rows);

// Texts of cells, the same in all forms.
struct FleetCells {
  std::string model, recipe, output, size, bits, perplexity, rise, kl, time, node_hours, state, log;
};
FleetCells fleet_cells(const FleetRow& row);

// Writes table.json, table.md and table.html into the state unless `before` says that nothing has changed; returns what to give
// as `before` next time.
std::string write_tables(const FleetSpec& spec, const std::vector<FleetJobView>& views, const std::string& before);

// What a finished fleet comes to.
ExitCode verdict(const std::vector<FleetJobView>& views);

}  // namespace mpiquant
