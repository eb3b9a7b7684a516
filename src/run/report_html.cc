#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "src/base/html.h"
#include "src/run/report_file.h"
#include "src/run/terminal_text.h"

namespace mpiquant {
namespace {

constexpr std::array kColours = {"#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1",
                                 "#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#8c8c8c"};
constexpr double kWidth = 900;   // of a plot, in its own units
constexpr double kLabel = 90;    // left of the bars
constexpr double kBar = 18;      // height of a bar with the gap below it
constexpr double kHeight = 260;  // of the plot of errors

constexpr const char* kStyle =
    "body{font:14px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:2px 10px;text-align:right;border-bottom:1px solid #ccc6}"
    "td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}svg text{font-size:11px;fill:currentColor}"
    ".key{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em}.scroll{overflow-x:auto}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}";

std::string escaped(const std::string& raw) { return escape_html(printable(raw)); }

const char* colour(std::size_t index) { return kColours[index % kColours.size()]; }

std::string key(const std::vector<std::string>& names) {
  std::string out = "<p>";
  for (std::size_t i = 0; i < names.size(); ++i)
    out += fmt::format("<span class=\"key\" style=\"background:{}\"></span>{}", colour(i), escaped(names[i]));
  return out + "</p>\n";
}

std::string begin_plot(double height) {
  return fmt::format("<svg viewBox=\"0 0 {} {:.0f}\" role=\"img\">\n", kWidth + 90, height);
}

std::string row_label(double y, std::size_t rank) {
  return fmt::format("<text x=\"0\" y=\"{:.1f}\">rank {}</text>\n", y + kBar - 6, rank);
}

std::string rectangle(double x, double y, double width, const char* fill, const std::string& title) {
  return fmt::format("<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{}\" fill=\"{}\"><title>{}</title></rect>\n", x,
                     y, std::max(width, 0.0), kBar - 4, fill, escaped(title));
}

// A bar for each rank, made of its phases.
std::string phase_plot(const ReportFile& report) {
  const std::vector<std::string> phases = report.phases();
  double most = 0;
  for (const ReportedRank& rank : report.ranks) {
    double sum = 0;
    for (const auto& [phase, value] : rank.seconds) sum += std::max(value, 0.0);
    most = std::max(most, sum);
  }
  if (!(most > 0)) return "";
  std::string out = "<h2>Seconds by rank and phase</h2>\n" + key(phases);
  out += begin_plot(kBar * static_cast<double>(report.ranks.size()) + 4);
  for (std::size_t r = 0; r < report.ranks.size(); ++r) {
    const double y = kBar * static_cast<double>(r);
    out += row_label(y, r);
    double x = kLabel;
    double sum = 0;
    for (std::size_t p = 0; p < phases.size(); ++p) {
      const auto found = report.ranks[r].seconds.find(phases[p]);
      if (found == report.ranks[r].seconds.end()) continue;
      const double value = std::max(found->second, 0.0);
      const double width = value / most * (kWidth - kLabel);
      out += rectangle(x, y, width, colour(p), fmt::format("rank {}, {}: {:.3f} s", r, phases[p], value));
      x += width;
      sum += value;
    }
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{:.1f} s</text>\n", x + 6, y + kBar - 6, sum);
  }
  return out + "</svg>\n";
}

std::int64_t amount(const Amounts& amounts, const char* name) {
  const auto found = amounts.find(name);
  return found == amounts.end() ? 0 : found->second;
}

// Peak memory of each rank; a line marks what was planned.
std::string memory_plot(const ReportFile& report) {
  std::int64_t most = 0;
  for (std::size_t r = 0; r < report.ranks.size(); ++r) {
    most = std::max(most, amount(report.ranks[r].amounts, "peak_memory"));
    if (r < report.plan.size()) most = std::max(most, amount(report.plan[r], "memory"));
  }
  if (most == 0) return "";
  std::string out = "<h2>Peak memory by rank (the line is the plan)</h2>\n";
  out += begin_plot(kBar * static_cast<double>(report.ranks.size()) + 4);
  const auto width = [&](std::int64_t bytes) {
    return static_cast<double>(bytes) / static_cast<double>(most) * (kWidth - kLabel);
  };
  for (std::size_t r = 0; r < report.ranks.size(); ++r) {
    const double y = kBar * static_cast<double>(r);
    const std::int64_t peak = amount(report.ranks[r].amounts, "peak_memory");
    const std::int64_t planned = r < report.plan.size() ? amount(report.plan[r], "memory") : 0;
    out += row_label(y, r) + rectangle(kLabel, y, width(peak), colour(0), fmt::format("rank {}: {}", r, shown_bytes(peak)));
    if (planned > 0)
      out +=
          fmt::format("<rect x=\"{:.2f}\" y=\"{:.1f}\" width=\"2\" height=\"{}\" fill=\"{}\"><title>planned {}</title></rect>\n",
                      kLabel + width(planned), y, kBar - 4, colour(3), shown_bytes(planned));
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", kWidth + 6, y + kBar - 6, shown_bytes(peak));
  }
  return out + "</svg>\n";
}

std::string suffix_of_module(const std::string& module) {
  const std::size_t dot = module.rfind('.');
  return dot == std::string::npos ? module : module.substr(dot + 1);
}

// Each tensor's error over its layer, on a logarithmic scale; a colour for each kind of linear.
std::string error_plot(const ReportFile& report) {
  std::vector<std::string> kinds;
  double low = 0;
  double high = 0;
  std::int64_t layers = 1;
  bool any = false;
  for (const ReportedTensor& tensor : report.tensors) {
    if (!(tensor.error > 0)) continue;
    const double value = std::log10(tensor.error);
    low = any ? std::min(low, value) : value;
    high = any ? std::max(high, value) : value;
    any = true;
    layers = std::max(layers, layer_of(tensor.module) + 2);
    if (std::ranges::find(kinds, suffix_of_module(tensor.module)) == kinds.end())
      kinds.push_back(suffix_of_module(tensor.module));
  }
  if (!any) return "";
  low = std::floor(low);
  high = std::max(std::ceil(high), low + 1);
  const auto y_of = [&](double value) { return 10 + (high - value) / (high - low) * (kHeight - 40); };
  std::string out = "<h2>Error of each tensor by layer</h2>\n" + key(kinds) + begin_plot(kHeight);
  const double step = std::max(1.0, std::ceil((high - low) / 12));
  for (int line = 0; low + line * step <= high; ++line) {
    const double power = low + line * step;
    out += fmt::format(
        "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#8886\"/><text x=\"0\" "
        "y=\"{3:.1f}\">1e{4:.0f}</text>\n",
        kLabel, kWidth, y_of(power), y_of(power) + 4, power);
  }
  for (const ReportedTensor& tensor : report.tensors) {
    if (!(tensor.error > 0)) continue;
    const std::int64_t layer = layer_of(tensor.module);
    const double place = static_cast<double>(layer < 0 ? layers - 1 : layer) + 0.5;  // what is in no layer stands at the right
    const auto kind = static_cast<std::size_t>(std::ranges::find(kinds, suffix_of_module(tensor.module)) - kinds.begin());
    out += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"><title>{}: {:.3e}</title></circle>\n",
                       kLabel + place / static_cast<double>(layers) * (kWidth - kLabel), y_of(std::log10(tensor.error)),
                       colour(kind), escaped(tensor.module), tensor.error);
  }
  out += fmt::format("<text x=\"{}\" y=\"{}\">layer 0</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">layer {}</text>\n",
                     kLabel, kHeight - 8, kWidth, kHeight - 8, std::max<std::int64_t>(layers - 2, 0));
  return out + "</svg>\n";
}

std::string tensor_rows(const ReportFile& report) {
  if (report.tensors.empty()) return "";
  std::string out =
      "<h2>Tensors</h2>\n<div class=\"scroll\"><table><tr><th>tensor</th><th>codec</th><th>error</th><th>damping</th>"
      "<th>retries</th><th>dead columns</th><th>clamped scales</th><th>outputs</th></tr>\n";
  for (const ReportedTensor& tensor : report.tensors)
    out +=
        fmt::format("<tr><td>{}</td><td>{}</td><td>{:.3e}</td><td>{:g}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    escaped(tensor.module), escaped(tensor.codec), tensor.error, tensor.damp_percent, tensor.damp_retries,
                    tensor.dead_columns, tensor.clamped_scales, escaped(tensor.outputs));
  return out + "</table></div>\n";
}

std::string phase_rows(const ReportFile& report) {
  std::string out = "<h2>Phases</h2>\n<div class=\"scroll\"><table><tr><th>rank</th>";
  const std::vector<std::string> phases = report.phases();
  for (const std::string& phase : phases) out += "<th>" + escaped(phase) + " s</th>";
  out += "<th>read</th><th>written</th><th>to the reduction</th><th>peak memory</th></tr>\n";
  for (std::size_t r = 0; r < report.ranks.size(); ++r) {
    const ReportedRank& rank = report.ranks[r];
    out += fmt::format("<tr><td>{}</td>", r);
    for (const std::string& phase : phases) {
      const auto found = rank.seconds.find(phase);
      out += fmt::format("<td>{:.3f}</td>", found == rank.seconds.end() ? 0 : found->second);
    }
    for (const char* name : {"bytes_read", "bytes_written", "hessian_bytes", "peak_memory"})
      out += "<td>" + shown_bytes(amount(rank.amounts, name)) + "</td>";
    out += "</tr>\n";
  }
  return out + "</table></div>\n";
}

}  // namespace

std::string to_html(const ReportFile& report) {
  std::string out = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>mpiquant report</title><style>";
  out += kStyle;
  out +=
      fmt::format("</style></head><body>\n<h1>{}</h1>\n<p>{} → {}<br>{:.1f} s on {} rank(s), {} stage(s) of {} replica(s)</p>\n",
                  "mpiquant report", escaped(report.model), escaped(report.output), report.seconds, report.ranks.size(),
                  report.stages, report.replicas);
  out += phase_plot(report) + memory_plot(report) + error_plot(report) + phase_rows(report);
  out += fmt::format("<h2>Fallbacks: {}</h2>\n<ul>\n", report.fallbacks.size());
  for (const std::string& fallback : report.fallbacks) out += "<li>" + escaped(fallback) + "</li>\n";
  return out + "</ul>\n" + tensor_rows(report) + "</body></html>\n";
}

}  // namespace mpiquant
