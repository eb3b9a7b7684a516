#pragma once

#include <functional>
#include <string>
#include <vector>

#include "src/fleet/backend.h"
#include "src/fleet/record.h"
#include "src/fleet/spec.h"

namespace mpiquant {

struct FleetRequest {
  const FleetSpec& spec;
  FleetBackend& backend;
  bool retry = false;  // jobs that failed before this start get new attempts
  // Sleeps for so many seconds, less when there is a reason; returns whether the fleet shall end.
  std::function<bool(double seconds)> wait;
};

// Runs all jobs of a fleet that are not done and unchanged, together with other processes that may run the same fleet, and writes
// the tables of the state. Returns when every job is done or failed: kDone, kGate when all that is wrong are gates, else the exit
// code of the first failed job of the table. When told to end: kStopped; jobs that were not finished go on at the next start.
ExitCode run_fleet(const FleetRequest& request);

// A job as it stands, for tables.
struct FleetJobView {
  const FleetJob& job;
  FleetRecord record;
  std::string holder;  // who works on it
};

// Reads the state; starts nothing.
std::vector<FleetJobView> view_fleet(const FleetSpec& spec);

// Folder of a job in the state.
std::string job_folder(const FleetSpec& spec, const FleetJob& job);
// The attempt that a record describes or would start next.
Attempt attempt_of(const FleetSpec& spec, const FleetJob& job, const FleetRecord& record);

}  // namespace mpiquant
