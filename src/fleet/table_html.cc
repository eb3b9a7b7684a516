#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "io/shared_file.h"
#include "src/base/html.h"
#include "src/fleet/plot.h"
#include "src/fleet/table.h"

namespace mpiquant {
namespace {

constexpr const char* kStyle =
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#1d2430;background:#fff}"
    "h1{font-size:1.4em}table{border-collapse:collapse;width:100%;font-size:13px}"
    "th,td{padding:.35em .6em;border-bottom:1px solid #d8dde5;text-align:left;vertical-align:top}"
    "td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td.log{word-break:break-all;color:#5b6574}"
    "tr.done td.s{color:#17693a}tr.gate td.s{color:#9a5b00}tr.failed td.s{color:#a61b1b}"
    "figure{display:inline-block;margin:0 2em 1em 0}figcaption{font-weight:600}svg text{font:11px "
    "system-ui,sans-serif;fill:#3b4453}";

// Figures of an output against its bits per weight, one colour for each family.
std::string figure(const std::string& caption, std::span<const FleetRow> rows, const std::string& unit, bool logarithmic,
                   const std::function<std::optional<double>(const FleetOutput&)>& value) {
  std::vector<PlotPoint> points;
  for (const FleetRow& row : rows) {
    if (row.output == nullptr) continue;
    const std::optional<double> y = value(*row.output);
    if (!y || !std::isfinite(*y) || (logarithmic && *y <= 0)) continue;
    const FleetCells cells = fleet_cells(row);
    points.push_back({row.output->bits_per_weight, *y, row.view->job.family,
                      fmt::format("{} {} {}: {:.4g}", cells.model, cells.recipe, cells.output, *y)});
  }
  if (points.empty()) return "";
  return "<figure><figcaption>" + escape_html(caption) + "</figcaption>" +
         scatter_svg(points, "bits per weight", unit, logarithmic) + "</figure>\n";
}

}  // namespace

std::string fleet_html(const FleetSpec& spec, std::span<const FleetRow> rows) {
  const bool moving = std::any_of(rows.begin(), rows.end(), [](const FleetRow& row) {
    return row.state != "done" && row.state != "gate" && row.state != "failed";
  });
  std::string text = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">";
  if (moving) text += "<meta http-equiv=\"refresh\" content=\"30\">";
  text += fmt::format("<title>{}</title><style>{}</style></head><body>\n<h1>{}</h1>\n<p>{}; written at {} UTC</p>\n",
                      escape_html(spec.name), kStyle, escape_html(spec.name), escape_html(fleet_summary(rows)),
                      time_text(now_seconds()));
  text += figure("KL divergence from the original", rows, "nats", true, [](const FleetOutput& output) { return output.kl; });
  text += figure("Rise of perplexity", rows, "%", false, [](const FleetOutput& output) -> std::optional<double> {
    if (!output.perplexity || !output.reference_perplexity) return std::nullopt;
    return 100 * (*output.perplexity / *output.reference_perplexity - 1);
  });
  text += figure("Size", rows, "MB", true,
                 [](const FleetOutput& output) { return std::optional(static_cast<double>(output.bytes) / 1e6); });
  text += "<table><thead><tr>";
  for (const char* head : {"model", "recipe", "output", "size", "bits per weight", "perplexity", "rise", "KL divergence", "time",
                           "node-hours", "state", "log"})
    text += fmt::format("<th>{}</th>", head);
  text += "</tr></thead><tbody>\n";
  for (const FleetRow& row : rows) {
    const FleetCells cells = fleet_cells(row);
    text += fmt::format("<tr class=\"{}\">", row.state.substr(0, row.state.find(' ')));
    for (const std::string& cell : {cells.model, cells.recipe, cells.output}) text += "<td>" + escape_html(cell) + "</td>";
    for (const std::string& cell : {cells.size, cells.bits, cells.perplexity, cells.rise, cells.kl, cells.time, cells.node_hours})
      text += "<td class=\"n\">" + escape_html(cell) + "</td>";
    text += "<td class=\"s\">" + escape_html(cells.state) + "</td><td class=\"log\">" + escape_html(cells.log) + "</td></tr>\n";
  }
  return text + "</tbody></table>\n</body></html>\n";
}

}  // namespace mpiquant
