#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/kept_lease.h"
#include "io/publish.h"
#include "src/run/checkpoint.h"
#include "src/run/output_files.h"
#include "src/run/quantize.h"

namespace mpiquant {

// What rank 0 holds for a run (elsewhere it knows the places alone): the leases of the work folder and of the output, the partial
// folder of the output, and the checkpoint.
class RunState {
 public:
  // The partial folder's name tells runs of another model or work folder apart.
  RunState(const QuantizeRequest& request, const std::string& fingerprint);
  ~RunState();
  RunState(const RunState&) = delete;
  RunState& operator=(const RunState&) = delete;

  const Checkpoint& checkpoint() const { return checkpoint_; }
  // Takes the leases and returns the path of the partial folder, with what an interrupted run of the same identity has left in
  // it. Throws (usage error) when the state is another run's, naming the field that differs, or when --restart forbids.
  // kernels: kernel sets of the ranks, which those that made committed layers must have been, unless --allow-mixed.
  std::string open(const Identity& identity, const std::string& kernels);
  // Makes the output files unless they are there from the run that is resumed, and returns what is committed.
  Checkpoint::State prepare(const OutputFiles& files, const std::vector<std::filesystem::path>& folders,
                            const Identity& identity);
  void publish();
  // After a failure: what can be resumed, or was found here, stays.
  void leave(ExitCode code);
  // The same on a rank whose stage alone knows of the failure: it removes what a run that began with nothing has made in
  // `partial` and in the work folder before the job is ended, rank 0 with it.
  void leave_for_all(ExitCode code, const std::string& partial) const;

 private:
  void give_back();
  void check_kernel_sets(const std::string& kernels) const;

  const QuantizeRequest& request_;
  std::string own_place_;  // the output's work folder if none is named: its lease is there, too
  std::string id_;
  Checkpoint checkpoint_;
  std::optional<KeptLease> lease_, output_lease_;
  std::optional<StagedDirectory> staged_;
  bool resumes_ = false;
};

}  // namespace mpiquant
