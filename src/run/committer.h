#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "kernels/codec/codec.h"
#include "src/model/decoder.h"
#include "src/run/checkpoint.h"
#include "src/run/hidden_file.h"
#include "src/run/job.h"
#include "src/run/output_files.h"
#include "src/run/report.h"

namespace mpiquant {

struct CommitOptions {
  double overhead = 0.03;             // part of the wall time that writing hidden states may take
  std::function<bool()> stop_wanted;  // asked after every layer; may be empty
  std::string kernels;                // kernel sets of the ranks, noted with each layer
  std::string local_dir;              // where state files are written before they are copied to the checkpoint; may be empty
};

// Makes what a stage's layers wrote durable: while the next layer runs, a layer's files are synced, its hidden states written
// from a copy, and the layers before are summed; then one replica writes its line. Used by the replicas of a stage together, from
// the communicating thread.
class Committer {
 public:
  // first: the stage's first layer.
  Committer(Job& job, const Checkpoint& checkpoint, OutputFiles& files, const CommitOptions& options, std::int64_t first,
            RankReport& report);
  ~Committer();

  // Codes of the propagated output, on the replica that packed them; from any thread, one at a time, before the layer is done.
  void keep_codes(std::int64_t layer, const std::string& module, const EncodedLinear& linear);

  // A closed file that becomes durable with the current layer.
  void keep_file(Hdf5Writer file) { kept_.push_back(std::move(file)); }

  // What hidden states a snapshot would hold.
  struct Hidden {
    std::vector<HiddenState> states;                // of this replica
    std::map<std::int64_t, std::string> all_files;  // of all replicas' states, by index
    std::int64_t width;
  };
  // After a layer: begins to make it durable, with the hidden states it leaves when their turn has come (hidden: nothing when
  // no later layer needs them). codes: module → file, of all replicas. Returns the records of all replicas. Throws (stopped) on
  // all replicas, once everything is durable, when a stop is wanted. Collective over the replicas.
  std::vector<TensorRecord> layer_done(std::int64_t layer, const std::vector<TensorRecord>& records,
                                       const std::map<std::string, std::string>& codes, const std::optional<Hidden>& hidden);
  // Waits until all is durable. Collective over the replicas.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  struct Line {
    std::int64_t layer;
    std::vector<TensorRecord> records;
    std::map<std::string, std::string> codes;
    std::optional<std::map<std::int64_t, std::string>> hidden;
  };
  // A state file of this rank on its way into the checkpoint.
  struct StateFile {
    std::string name;
    Hdf5Writer writer;
  };
  std::string local_path(const std::string& name) const;
  StateFile make_file(const std::string& name) const;
  void publish(StateFile file) const;
  bool snapshot_due(std::int64_t bytes) const;
  void begin(Line line, std::vector<HiddenRows> hidden, std::int64_t width);

  Job& job_;
  const Checkpoint& checkpoint_;
  OutputFiles& files_;
  const CommitOptions& options_;
  std::int64_t first_;
  RankReport& report_;
  std::optional<StateFile> codes_;
  std::vector<Hdf5Writer> kept_;
  std::optional<Line> line_;     // of the layer being synced
  std::future<double> syncing_;  // seconds that writing hidden states took
  Clock::time_point last_snapshot_ = Clock::now();
  double copy_seconds_ = 0;      // of the snapshot on its way
  double snapshot_seconds_ = 0;  // that the last one took, with what it took beside the work
};

}  // namespace mpiquant
