#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "src/run/identity.h"
#include "src/run/record.h"

namespace mpiquant {

// The durable state of a run, in a folder that all ranks see:
//   run.json             the run's identity; written once the output files exist in the partial folder
//   plan.json            who did what in the last start, and its hash; for people
//   layer-00005.json     layer 5 is in the outputs: records of its tensors, which file holds each linear's codes, and how far the
//                        output files were summed when it was written
//   codes-00005-2.h5     codes of the propagated output that rank 2 packed (src/run/codes_file.h)
//   hidden-00008.json    the hidden states that enter layer 8 are complete: the file of each unit
//   hidden-00008-2.h5    those of rank 2's units (src/run/hidden_file.h)
// A .json file appears, whole, only when everything it speaks of is durable; so what a killed run leaves is always of one piece.
class Checkpoint {
 public:
  explicit Checkpoint(std::string folder) : folder_(std::move(folder)) {}

  const std::string& folder() const { return folder_; }
  std::string path(const std::string& file) const { return folder_ + "/" + file; }
  static std::string codes_name(std::int64_t layer, int rank);
  static std::string hidden_name(std::int64_t layer, int rank);

  // Throws (usage error) when the folder holds what no checkpoint does: removing it would lose that.
  void check_own() const;
  // The identity of the run that left its state here, or nothing. Input error when it is damaged.
  std::optional<Identity> identity() const;
  // True if some layer is committed.
  bool has_layers() const;
  // Begins anew: removes what is there.
  void begin(const Identity& identity) const;
  void remove() const;
  // plan: in its canonical form.
  void keep_plan(const Json& plan) const;

  // codes: module → file in the folder. sums: states of RunningSums, over layers that are committed. kernels: kernel sets of the
  // ranks that made it.
  void commit_layer(std::int64_t layer, const std::vector<TensorRecord>& records, const std::map<std::string, std::string>& codes,
                    const std::map<std::string, std::string>& sums, const std::string& kernels) const;
  // units: index of the unit → file. Removes what nobody needs any more: older hidden states from layer `first` on, and the codes
  // of layers [first, layer).
  void commit_hidden(std::int64_t layer, const std::map<std::int64_t, std::string>& units, std::int64_t first) const;

  struct State {
    std::map<std::int64_t, std::string> kernels;               // layer → kernel sets
    std::map<std::int64_t, std::vector<TensorRecord>> layers;  // committed
    std::map<std::string, std::string> codes;                  // module → file, of layers whose codes are still there
    std::map<std::int64_t, std::map<std::int64_t, std::string>> snapshots;  // layer → unit → file
    std::map<std::int64_t, std::map<std::string, std::string>> sums;        // layer → name of a sum → its state then

    std::set<std::int64_t> committed() const;
    std::set<std::int64_t> snapshot_layers() const;
  };
  // What is there. Input error when it is damaged.
  State state() const;
  static Json to_json(const State& state);
  static State state_from(const Json& json);

 private:
  std::string folder_;
};

}  // namespace mpiquant
