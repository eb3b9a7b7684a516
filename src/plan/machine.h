#pragma once

#include <string>
#include <string_view>

#include "src/base/dtype.h"
#include "src/plan/amount.h"

namespace mpiquant {

// A way between ranks, in each direction.
struct Link {
  double bytes_per_second = 0;
  double latency = 0;  // seconds
};

// A kind of node, as rates that programs reach on it. A worker is a GPU or, on nodes without any, one thread while the others
// work too.
struct Machine {
  std::string name;
  int ranks = 1;             // of a node: GPUs, or processes
  int threads = 1;           // of a rank
  bool accelerated = false;  // a rank is a GPU: parts and units run together, weights are held in the compute type
  double node_memory = 0;    // bytes, shared by the ranks of a node
  double rank_memory = 0;    // bytes of a GPU; 0: ranks share the node's
  Amount rates;              // of a worker; reading, writing and summing: of a rank
  double linear_bf16 = 0, hessian_bf16 = 0;  // flop/s in bf16; 0: no faster than in fp32
  Link link;                                 // between two ranks of a node
  Link network;                              // of a node to the others
  double node_read = 0, node_write = 0;      // bytes/s of a node to the file system; 0: no limit but the ranks'
  double total_read = 0, total_write = 0;    // of the file system
};

// A topology file (YAML). Every rate is what the file says, times its factor under `efficiency` (1 when absent). Errors are input
// errors that name `where` and the key; unknown keys are refused with the nearest known one.
Machine parse_machine(const std::string& text, std::string_view where);
// The same as text, with efficiencies multiplied in.
std::string to_yaml(const Machine& machine, std::string_view comment);

// Rates of one worker when `ranks` ranks work, `per_node` of them on a node: shares of the file system, and the compute type.
Amount shared_rates(const Machine& machine, int ranks, int per_node, ComputeType compute);

}  // namespace mpiquant
