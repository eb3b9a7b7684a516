#pragma once

#include <span>
#include <string>

namespace mpiquant {

struct PlotPoint {
  double x = 0;
  double y = 0;
  std::string series;  // points of one series have one colour
  std::string title;   // shown when pointed at
};

// A scatter plot as an <svg> element. All x and y are finite; y > 0 on a logarithmic axis. At least one point.
std::string scatter_svg(std::span<const PlotPoint> points, const std::string& x_name, const std::string& y_name,
                        bool logarithmic);

}  // namespace mpiquant
