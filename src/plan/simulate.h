#pragma once

#include <cstdint>

#include "src/plan/estimate.h"

namespace mpiquant {

struct Simulation {
  double seconds = 0;
  std::int64_t events = 0;
};

// Plays a program event by event: threads that take items one at a time, messages of every transfer that queue for the links of
// ranks and for the network of nodes, requests that queue for the file system, ranks that wait for each other. It knows none of
// the closed formulas of estimate(), and checks them.
Simulation simulate(const Program& program, const Machine& machine, const Placement& placement);

}  // namespace mpiquant
