#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codec/codec.h"

namespace mpiquant::cuda {

// What a factorization needs of a Hessian's diagonal, by the rules of the CPU backend.
struct VisitOrder {
  std::vector<std::int32_t> visit;  // [cols] original column visited at each step
  std::vector<std::uint8_t> dead;   // [cols] by original column
  std::vector<double> diagonal;     // [cols] by original column, 1 where dead
  double mean = 0;                  // of diagonal
};

// Throws a gate error on a negative element.
VisitOrder visit_order(std::span<const float> diagonal, ActOrder order);

// The damping of an attempt, as a share of the mean diagonal. Throws a gate error when it would pass 1 or not grow.
double damping_of(int attempt, double first, double increment, std::int64_t cols);

}  // namespace mpiquant::cuda
