#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/fleet/backend.h"
#include "src/fleet/record.h"
#include "src/fleet/spec.h"

namespace mpiquant {

// How a step of an attempt ended for good.
struct StepEnd {
  int code = 0;
  bool cancelled = false;  // by a person
};
std::optional<StepEnd> step_end(const Attempt& attempt, const std::string& step);

// Says that a step ended well, in the place of its script.
void settle_step(const Attempt& attempt, const std::string& step);

// What a run has written, each with the name of its evaluation's file: the folder itself ("output"), or those of the formats in
// it. One that is still being made, whose name begins with a dot, is none.
std::vector<std::pair<std::string, std::string>> output_folders(const std::string& output);

// Tells outputs in a folder apart: a hash of their SHA256SUMS; empty when there is none. Outputs appear whole, so one that is
// there is finished.
std::string output_sums(const std::string& output);

// Time of all runs so far of a job's steps, and how many of them failed.
struct Usage {
  double seconds = 0;
  double node_seconds = 0;
  int failures = 0;
};
Usage usage_of(const std::string& folder);

// The line of a log that says what went wrong; empty when there is none.
std::string error_in_log(const std::string& path);

// Outputs of a job that is done, with what its evaluations say. Throws (corrupt output) when there are none or an evaluation
// lacks.
std::vector<FleetOutput> collect_outputs(const Attempt& attempt);

// In words, the gates that an output fails.
std::vector<std::string> failed_gates(const FleetOutput& output, const FleetGates& gates);

}  // namespace mpiquant
