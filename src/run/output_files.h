#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <span>
#include <vector>

#include "io/container.h"
#include "io/file.h"
#include "src/plan/plan.h"
#include "src/run/running_sums.h"

namespace mpiquant {

// The pre-sized files of a run's outputs, written by any rank at planned offsets; every byte has one writer. Writing is
// safe from any thread.
class OutputFiles {
 public:
  // folders: the (staged) directory of each output. rank: of the job.
  OutputFiles(const Plan& plan, const std::vector<OutputSpec>& outputs, const ModelSpec& model,
              std::vector<std::filesystem::path> folders, int rank);

  // Creates all files with their final size and writes their headers; by one rank, before any other opens them.
  void create() const;
  // True if all files are there with their final size.
  bool complete() const;
  // Packs and writes all pieces of a linear of one output.
  void write_linear(std::size_t output, const std::string& module, const EncodedLinear& linear);
  // Packs and writes a part of a linear whose container packs rows; `buffer` is used again.
  void write_rows(std::size_t output, const LinearSpec& linear, const CodecSpec& codec, std::int64_t row_begin, std::int64_t rows,
                  std::span<const std::uint8_t> codes, std::span<const GroupParams> params, std::vector<std::byte>& buffer);
  // Writes rows of a dense tensor.
  void write_slab(const SlabTarget& target, std::int64_t row_begin, std::int64_t row_end, const RowReader& read);
  // The files this rank has open for writing; valid until close(). Syncing them makes what was written so far durable.
  std::vector<File*> open_files();
  // Syncs what this rank has written so far.
  void sync();
  // The same, and closes it.
  void close();

  std::int64_t bytes_written() const { return bytes_written_; }
  RunningSums& sums() { return sums_; }

 private:
  File& open(std::size_t output, std::size_t file);

  const Plan& plan_;
  const std::vector<OutputSpec>& outputs_;
  const ModelSpec& model_;
  std::vector<std::filesystem::path> folders_;
  RunningSums sums_;
  std::map<std::pair<std::size_t, std::size_t>, File> open_;
  // (output, module) → (file, tensor) of its pieces
  std::map<std::pair<std::size_t, std::string>, std::vector<std::pair<std::size_t, std::size_t>>> pieces_;
  std::mutex mutex_;  // of open_
  std::atomic<std::int64_t> bytes_written_ = 0;
};

}  // namespace mpiquant
