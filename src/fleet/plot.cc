#include "src/fleet/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include "src/base/html.h"

namespace mpiquant {
namespace {

constexpr double kWidth = 380;
constexpr double kHeight = 260;
constexpr double kLeft = 56;
constexpr double kRight = 12;
constexpr double kTop = 10;
constexpr double kBottom = 38;

// Values from low to high lie on pixels from first to last.
class Axis {
 public:
  Axis(double low, double high, double first, double last, bool logarithmic)
      : first_(first), last_(last), logarithmic_(logarithmic) {
    low_ = scaled(low);
    high_ = scaled(high);
    const double margin = high_ > low_ ? 0.06 * (high_ - low_) : std::max(0.1, 0.1 * std::abs(low_));
    low_ -= margin;
    high_ += margin;
  }
  double pixel(double value) const { return first_ + (scaled(value) - low_) / (high_ - low_) * (last_ - first_); }
  // Round values inside the axis, about five.
  std::vector<double> ticks() const {
    std::vector<double> out;
    const double raw = (high_ - low_) / 5;
    const double power = std::pow(10, std::floor(std::log10(raw)));
    double step = power;
    for (const double factor : {2.0, 5.0, 10.0})
      if (step < raw) step = factor * power;
    if (logarithmic_ && high_ - low_ > 2) step = std::max(1.0, std::round(step));
    const auto last = static_cast<int>(std::floor(high_ / step + 1e-9));
    for (auto i = static_cast<int>(std::ceil(low_ / step)); i <= last; ++i) {
      const double at = i * step;
      out.push_back(logarithmic_ ? std::pow(10, at) : at);
    }
    return out;
  }

 private:
  double scaled(double value) const { return logarithmic_ ? std::log10(value) : value; }

  double low_ = 0, high_ = 1, first_, last_;
  bool logarithmic_;
};

}  // namespace

std::string scatter_svg(std::span<const PlotPoint> points, const std::string& x_name, const std::string& y_name,
                        bool logarithmic) {
  constexpr std::array<std::string_view, 6> kColours = {"#2563a8", "#c2410c", "#15803d", "#7c3aed", "#a16207", "#0e7490"};
  const auto [x_low, x_high] = std::minmax_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.x < b.x; });
  const auto [y_low, y_high] = std::minmax_element(points.begin(), points.end(), [](auto& a, auto& b) { return a.y < b.y; });
  const Axis x(x_low->x, x_high->x, kLeft, kWidth - kRight, false);
  const Axis y(y_low->y, y_high->y, kHeight - kBottom, kTop, logarithmic);
  std::vector<std::string> series;
  for (const PlotPoint& point : points)
    if (std::find(series.begin(), series.end(), point.series) == series.end()) series.push_back(point.series);

  const double legend = 16 * static_cast<double>(series.size());
  std::string svg =
      fmt::format("<svg width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\">\n", kWidth, kHeight + legend);
  for (const double tick : x.ticks())
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1}\" x2=\"{0:.1f}\" y2=\"{2}\" stroke=\"#e6e9ef\"/>"
        "<text x=\"{0:.1f}\" y=\"{3}\" text-anchor=\"middle\">{4:.4g}</text>\n",
        x.pixel(tick), kTop, kHeight - kBottom, kHeight - kBottom + 15, tick);
  for (const double tick : y.ticks())
    svg += fmt::format(
        "<line x1=\"{0}\" y1=\"{1:.1f}\" x2=\"{2}\" y2=\"{1:.1f}\" stroke=\"#e6e9ef\"/>"
        "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:.3g}</text>\n",
        kLeft, y.pixel(tick), kWidth - kRight, kLeft - 5, y.pixel(tick) + 4, tick);
  svg += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n", (kLeft + kWidth - kRight) / 2,
                     kHeight - 6, escape_html(x_name));
  svg += fmt::format("<text x=\"12\" y=\"{0:.1f}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {0:.1f})\">{1}</text>\n",
                     (kTop + kHeight - kBottom) / 2, escape_html(y_name));
  for (const PlotPoint& point : points) {
    const auto which = static_cast<std::size_t>(std::find(series.begin(), series.end(), point.series) - series.begin());
    svg +=
        fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\" fill-opacity=\"0.8\"><title>{}</title></circle>\n",
                    x.pixel(point.x), y.pixel(point.y), kColours[which % kColours.size()], escape_html(point.title));
  }
  for (std::size_t i = 0; i < series.size(); ++i) {
    const double at = kHeight + 16 * static_cast<double>(i) + 4;
    svg += fmt::format("<circle cx=\"{}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/><text x=\"{}\" y=\"{:.1f}\">{}</text>\n", kLeft, at,
                       kColours[i % kColours.size()], kLeft + 10, at + 4, escape_html(series[i]));
  }
  return svg + "</svg>";
}

}  // namespace mpiquant
