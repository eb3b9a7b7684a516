#pragma once

#include <functional>
#include <memory>
#include <string>

#include "src/base/error.h"
#include "src/base/json.h"
#include "src/fleet/spec.h"

namespace mpiquant {

// Where the program and the scripts beside it are.
struct FleetTools {
  std::string home;     // holds launch/ and slurm/
  std::string program;  // mpiquant
};

// One attempt at a job: quantize, unless that is done, then evaluate. Its steps leave in `folder`: STEP.exit ("CODE WORD", when a
// step ended for good), STEP-NUMBER.log, a line "STEP CODE SECONDS NODES" in `usage` for each time it ran, and
// results/LABEL.json.
struct Attempt {
  const FleetJob& job;
  std::string folder;  // of this job's key, absolute
  std::string tag;     // tells it from all others
  int number = 1;
  bool quantized = false;
  bool replace = false;  // there is an output, made by this fleet

  std::string log(const std::string& step) const { return folder + "/" + step + "-" + std::to_string(number) + ".log"; }
};

// What an attempt came to that ended without leaving an exit code.
struct Fate {
  ExitCode code = ExitCode::kEnvironment;
  std::string text;
  bool final = false;    // not to be tried again
  bool partial = false;  // its steps were not all submitted: to be completed, and no failure
};

// Runs attempts somewhere, each on its own; they go on when this process is gone, and a handle finds them again.
class FleetBackend {
 public:
  virtual ~FleetBackend() = default;

  virtual int limit() const = 0;  // attempts at once, of one fleet process
  virtual double poll_seconds() const = 0;
  // Command lines, to be shown.
  virtual std::vector<std::vector<std::string>> commands(const Attempt& attempt) const = 0;

  // Starts an attempt; `note` is called with its handle as soon as there is one, so that it can be written down.
  virtual void start(const Attempt& attempt, const std::function<void(const Json&)>& note) = 0;
  // The handle of an attempt that may have been started by a process that is gone, or null.
  virtual Json find(const Attempt& attempt) = 0;
  // Is it waiting or running? Called again and again.
  virtual bool active(const Json& handle) = 0;
  virtual Fate fate(const Json& handle) = 0;
  // The fleet process is told to end: asks an attempt that cannot go on without it to stop where it can be resumed. Returns
  // whether it will.
  virtual bool stop(const Json& handle) = 0;
};

std::unique_ptr<FleetBackend> make_local_backend(FleetTools tools, int limit);
std::unique_ptr<FleetBackend> make_slurm_backend(FleetTools tools, int limit);

// Arguments of quantize and evaluate for a job, after the program's name. Checkpoints lie in the attempt's folder, so that a
// changed job does not find those of another recipe.
std::vector<std::string> quantize_arguments(const Attempt& attempt);
std::vector<std::string> evaluate_arguments(const FleetJob& job);

}  // namespace mpiquant
