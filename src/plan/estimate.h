#pragma once

#include <array>
#include <vector>

#include "src/plan/machine.h"
#include "src/plan/program.h"

namespace mpiquant {

// Where a program runs.
struct Placement {
  int per_node = 1;  // ranks of a node; consecutive ranks share nodes
  ComputeType compute = ComputeType::kF32;
  bool overlap = false;  // files are read one layer ahead and written behind, beside all other work
};

// Bytes that all ranks together receive, by phase.
using PhaseBytes = std::array<double, kPhases>;
using PhaseSeconds = std::array<double, kPhases>;

struct Estimate {
  double seconds = 0;              // from start to end
  std::vector<PhaseSeconds> busy;  // by rank: its own work, and transfers it takes part in
  std::vector<double> wait;        // by rank: for others
  Amount work;                     // of all ranks
  PhaseBytes wire{};
  double within = 0, between = 0;  // bytes of wire inside nodes and between them
};

// Bytes that cross the wire in a transfer within a group of so many ranks, summed over the ranks that receive them.
double wire_bytes(const Step& step, int ranks);

// Seconds of a transfer by a closed formula: rings for gathers, reductions (a ring of partial sums, then a gather at the root)
// and broadcasts (a scatter, then a ring); pairwise rounds for all-to-all. `first`: the first rank of the group.
double transfer_seconds(const Step& step, int first, int ranks, const Machine& machine, const Placement& placement);

// Seconds of a program by closed formulas: a step takes as long as its slowest rank, the threads of a rank take items in turn,
// all ranks of a group agree after each step.
Estimate estimate(const Program& program, const Machine& machine, const Placement& placement);

}  // namespace mpiquant
