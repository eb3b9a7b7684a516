#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/base/json.h"
#include "src/plan/estimate.h"
#include "src/plan/memory.h"

namespace mpiquant {

// What one rank has to do.
struct Duty {
  std::int64_t units = 0;     // of calibration, each in every layer of the stage
  std::int64_t parts = 0;     // of 128 rows, over all codecs
  std::int64_t hessians = 0;  // summed up and factored as their owner
  std::int64_t linears = 0;   // packed and written
};

// A plan with its costs on a machine, ready to be printed.
struct PlanSummary {
  std::string model, architecture;
  std::int64_t parameters = 0, layers = 0;
  bool quantizable = true;  // false: planned by its shape alone
  std::string plan_hash;    // empty without a plan
  std::string machine;
  int nodes = 1, per_node = 1, stages = 1, replicas = 1, threads = 1;
  std::int64_t samples = 0, length = 0, units = 0;
  std::vector<std::pair<std::string, double>> files;  // path, bytes
  double kept_hessians = 0;                           // bytes, if they are kept
  std::vector<MemoryUse> memory;                      // by rank
  double memory_limit = 0;                            // bytes of a rank; 0: unknown
  std::vector<Duty> duties;                           // by rank
  Estimate estimate;
};

std::vector<Duty> duties_of(const Program& program);
// The rank that needs most memory.
std::size_t neediest(const PlanSummary& summary);
// Bytes that the neediest rank lacks; 0 when the plan fits or the limit is unknown.
double memory_lacking(const PlanSummary& summary);

std::string to_text(const PlanSummary& summary);
Json to_json(const PlanSummary& summary);

}  // namespace mpiquant
