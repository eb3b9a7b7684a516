#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/plan/choices.h"
#include "src/run/job.h"
#include "src/run/model_input.h"
#include "src/run/pipeline.h"

namespace mpiquant {

struct Calibration {
  Samples samples;
  Json record;  // how they were made: choices, hashes, counts
};

// What to do with the state that an earlier start of the same output has left.
enum class Restart : std::uint8_t {
  kAuto,     // go on from there, if there is any
  kNever,    // begin anew
  kRequire,  // fail if there is none
};

// Where state is kept unless another place is named.
inline std::string default_work_dir(const std::string& output) { return output + ".work"; }

struct QuantizeRequest {
  std::string model;           // as given: a directory or a Hub id
  std::string output;          // directory
  std::string work_dir;        // for report.json and state
  bool keep_hessians = false;  // in a folder of the work folder
  std::string hessians;        // folder of kept Hessians that take the place of calibration; may be empty
  HessianSums sums = HessianSums::kInt64;
  bool force = false;
  bool allow_mixed = false;  // ranks and restarts with other kernel sets
  Restart restart = Restart::kAuto;
  Recipe recipe;
  Calibration calibration;  // the same on all ranks; empty for methods without
  int threads = 1;          // of this rank
  Gates gates;
  CommitOptions commit;
  std::chrono::duration<double> hang_timeout{600};
  std::function<void(double)> on_hang;  // called from another thread when this rank hangs; may be empty
};

// Quantizes a model and publishes all outputs, or leaves nothing under the output's name. A run that was stopped, killed or
// failed for its environment goes on where it was when it is started again, on any number of ranks. Collective over the job.
void quantize(Job& job, const QuantizeRequest& request, const ModelInput& model);

}  // namespace mpiquant
