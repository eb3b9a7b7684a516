#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/json.h"

namespace mpiquant {

// One finished output of a job and its figures; those of an evaluation are there if it was made.
struct FleetOutput {
  std::string label;  // "gptq", "gguf-q4_0"; empty for the only output of a job
  std::string path;
  std::int64_t bytes = 0;      // of all its files
  double bits_per_weight = 0;  // of its weight files, per parameter of the original model
  std::optional<double> perplexity, reference_perplexity, kl, kl_error, top1;
};

enum class JobState : std::uint8_t {
  kWaiting,   // to be started, perhaps again
  kStarting,  // a process or batch job is about to be made: it may or may not exist
  kRunning,
  kDone,
  kFailed,  // for good
};
const char* to_string(JobState state);

// What is known of a job, kept in FOLDER/record.json. Only the holder of the job's lease writes it.
struct FleetRecord {
  std::string key;  // of the run described here
  JobState state = JobState::kWaiting;
  int attempts = 0;     // started for this key
  int forgiven = 0;     // failures before a person asked for more attempts
  int exit_code = 0;    // of the last attempt
  std::string message;  // why it failed
  std::string log;      // of the last step
  Json handle;          // where the attempt runs, for the backend
  double begun = 0;     // seconds after 1970, first attempt of this key
  double ended = 0;
  double seconds = 0;           // of all attempts
  double node_seconds = 0;      // the same times nodes
  bool output_is_ours = false;  // the output's folder was made by this fleet and may be replaced
  std::string replaces;         // output_sums() of the output that was there when this key was begun
  std::vector<FleetOutput> outputs;

  static FleetRecord read(const std::string& folder);  // a new one when there is none
  void write(const std::string& folder) const;
};

}  // namespace mpiquant
