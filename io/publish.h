#pragma once

#include <string>
#include <utility>
#include <vector>

namespace mpiquant {

// An output directory appears under its name only when it is whole: it is built in a sibling .NAME.partial-ID, synced, and
// renamed. In a job of many ranks one rank owns the StagedDirectory; the others open files below its path() and sync what they
// wrote.

// Throws (usage error) when `output` is, holds or lies in `input`: publishing would change or move the input.
void check_output_apart(const std::string& output, const std::string& input);

// Throws when `output` cannot be published later: it exists and there is no `force` (usage error), or its parent is missing or
// not writable (environment error).
void check_output_free(const std::string& output, bool force);

// Throws (usage error) when `output` exists and holds neither an output of this program nor nothing, or holds one of `inputs`:
// replacing it would lose what is there.
void check_output_replaceable(const std::string& output, const std::vector<std::string>& inputs);

// Throws (usage error) when state cannot be kept in `folder`: it is a file, or lies in the output or in the input.
void check_work_dir(const std::string& folder, const std::string& output, const std::string& input);

// Partial and set-aside folders of earlier runs for this output, other than those of `id`. They may belong to a run that still
// lives.
std::vector<std::string> leftover_folders(const std::string& output, const std::string& id);

class StagedDirectory {
 public:
  // Makes the partial folder, empty, after check_output_free. `id` tells runs apart: letters, digits, '-', '_'.
  static StagedDirectory create(const std::string& output, bool force, const std::string& id);
  // The same, but goes on with the content of a partial folder that a killed run with the same id has left.
  static StagedDirectory resume(const std::string& output, bool force, const std::string& id);

  StagedDirectory(StagedDirectory&& other) noexcept;
  StagedDirectory& operator=(StagedDirectory&&) = delete;
  // Removes the partial folder unless it was published or kept.
  ~StagedDirectory();

  const std::string& path() const { return partial_; }
  // Whether the partial folder stays when it was not published, so that the run can be resumed.
  void keep(bool kept) { owned_ = !kept; }
  // Syncs all files and folders and renames the whole. With force an existing output is moved aside first and removed afterwards;
  // when the rename fails it is moved back.
  void publish();

 private:
  StagedDirectory(std::string output, bool force, const std::string& id);

  std::string output_;  // absolute, no trailing slash
  std::string partial_;
  std::string set_aside_;  // where an old output is moved
  bool force_;
  bool owned_ = true;
};

}  // namespace mpiquant
