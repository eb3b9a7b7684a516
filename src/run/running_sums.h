#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "io/file_sum.h"
#include "io/manifest.h"
#include "src/plan/plan.h"
#include "src/run/checkpoint.h"

namespace mpiquant {

// The SHA-256 sums of a run's output files, made behind the write front: each file by one rank, which reads what is durable while
// later layers are worked on and the bytes are still in memory. Files are spread over the ranks of the stage that writes their
// first layer.
class RunningSums {
 public:
  // folders: the directory of each output. rank: of the job.
  RunningSums(const Plan& plan, const ModelSpec& model, const std::vector<std::filesystem::path>& folders, int rank);

  // Goes on from what a checkpoint holds; a state that is damaged counts for nothing.
  void resume(const Checkpoint::State& state);
  // All ranks have synced what they wrote of this layer, and of the tensors of no layer.
  void layer_durable(std::int64_t layer) { durable_.insert(layer); }
  // Reads on to the first byte of a layer that is not durable. For one thread at a time, not beside the other functions.
  void advance();
  // States of this rank's files, by name.
  std::map<std::string, std::string> save() const;
  // Reads the rest of this rank's files of an output, all of whose bytes are durable: path → sum.
  FileSums finish(std::size_t output);

  std::int64_t bytes_at_front() const { return bytes_at_front_; }  // read by advance()
  std::int64_t bytes_at_end() const { return bytes_at_end_; }      // read by finish()

 private:
  struct Part {
    std::size_t output;
    const FilePlan* file;
    FileSum sum;
  };
  // Bytes of a file before the first layer that is not durable.
  std::int64_t front(const FilePlan& file) const;

  // Module of a linear or tensor that is carried over → its layer; a quantized head is one more.
  std::map<std::string, std::int64_t> layers_;
  std::vector<Part> mine_;
  std::set<std::int64_t> durable_;
  std::int64_t bytes_at_front_ = 0;
  std::int64_t bytes_at_end_ = 0;
};

}  // namespace mpiquant
