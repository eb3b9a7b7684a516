#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mpiquant {

// Gives items to the least loaded of a fixed set of bins, ties to the lowest index.
class Balancer {
 public:
  explicit Balancer(std::size_t bins) : loads_(bins, 0) {}
  int take(std::int64_t weight, std::size_t begin, std::size_t end) {
    const auto at =
        std::min_element(loads_.begin() + static_cast<std::ptrdiff_t>(begin), loads_.begin() + static_cast<std::ptrdiff_t>(end));
    *at += weight;
    return static_cast<int>(at - loads_.begin() - static_cast<std::ptrdiff_t>(begin));
  }
  int take(std::int64_t weight) { return take(weight, 0, loads_.size()); }
  void add(std::int64_t weight, std::size_t bin) { loads_[bin] += weight; }

 private:
  std::vector<std::int64_t> loads_;
};

}  // namespace mpiquant
