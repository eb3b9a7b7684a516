#include "io/publish.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "io/file.h"
#include "io/manifest.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPartial = ".partial-";
constexpr const char* kSetAside = ".replaced-";

// Absolute, without dots, symbolic links or a trailing slash.
fs::path normal_path(const std::string& path) {
  check(!path.empty(), ExitCode::kUsage, "the output path is empty (a directory is written) name one");
  std::error_code error;
  fs::path whole = fs::weakly_canonical(fs::absolute(path), error);
  check(!error, ExitCode::kEnvironment, "cannot examine {} ({}) check the path", path, error.message());
  if (!whole.has_filename()) whole = whole.parent_path();
  check(whole.has_relative_path(), ExitCode::kUsage, "{} is the root of the file system (it cannot be replaced) name a folder",
        path);
  return whole;
}

fs::path sibling(const fs::path& output, const char* kind, const std::string& id) {
  return output.parent_path() / ("." + output.filename().string() + kind + id);
}

// True if `inner` is `outer` or lies below it.
bool is_below(const fs::path& inner, const fs::path& outer) {
  return std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end()).first == outer.end();
}

void rename_path(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  check(!error, ExitCode::kEnvironment, "cannot rename {} to {} ({}) check the file system and resume", from.string(),
        to.string(), error.message());
}

// Syncs everything below a folder, files before the folder that lists them.
void sync_tree(const fs::path& folder) {
  for (const std::string& name : list_directory(folder.string())) {
    const fs::path path = folder / name;
    const PathKind kind = path_kind(path.string());
    if (kind == PathKind::kDirectory) sync_tree(path);
    if (kind == PathKind::kFile) File::open_read(path.string()).sync();
  }
  sync_directory(folder.string());
}

}  // namespace

void check_output_apart(const std::string& output, const std::string& input) {
  const fs::path out = normal_path(output);
  const fs::path in = normal_path(input);
  check(!is_below(out, in), ExitCode::kUsage,
        "the output {} lies in the model's folder {} (the input must stay as it is) choose another", output, input);
  check(!is_below(in, out), ExitCode::kUsage,
        "the output {} holds the model's folder {} (the input must stay as it is) choose another", output, input);
}

void check_output_replaceable(const std::string& output, const std::vector<std::string>& inputs) {
  const fs::path out = normal_path(output);
  if (path_kind(out.string()) != PathKind::kDirectory) return;
  for (const std::string& input : inputs)
    check(!is_below(normal_path(input), out), ExitCode::kUsage,
          "the output {} holds {} (the run reads it, and --force would remove it) choose another output", output, input);
  const std::vector<std::string> names = list_directory(out.string());
  const bool own = names.empty() || std::ranges::any_of(names, [&](const std::string& name) {
                     return name == kManifestName || path_kind((out / name / kManifestName).string()) == PathKind::kFile;
                   });
  check(own, ExitCode::kUsage,
        "{} is no output of mpiquant (there is no {} in it, and --force would remove what it holds) choose "
        "another output or remove it by hand",
        out.string(), kManifestName);
}

void check_work_dir(const std::string& folder, const std::string& output, const std::string& input) {
  const fs::path work = normal_path(folder);
  const PathKind kind = path_kind(work.string());
  check(kind == PathKind::kNothing || kind == PathKind::kDirectory, ExitCode::kUsage,
        "{} is not a directory (state is kept in one) choose another --work-dir", work.string());
  check(!is_below(work, normal_path(output)), ExitCode::kUsage,
        "the work folder {} lies in the output {} (which appears as a whole) choose another --work-dir", folder, output);
  check(!is_below(work, normal_path(input)), ExitCode::kUsage,
        "the work folder {} lies in the model's folder {} (the input must stay as it is) choose another --work-dir", folder,
        input);
}

void check_output_free(const std::string& output, bool force) {
  const fs::path out = normal_path(output);
  const fs::path parent = out.parent_path();
  const PathKind kind = path_kind(out.string());
  check(kind != PathKind::kNothing || !fs::is_symlink(fs::symlink_status(out)), ExitCode::kUsage,
        "{} is a link to nothing (it cannot become a folder) remove it or choose another output", out.string());
  check(force || kind == PathKind::kNothing, ExitCode::kUsage,
        "{} exists (it would be overwritten) choose another output or give --force", out.string());
  check(kind == PathKind::kNothing || kind == PathKind::kDirectory, ExitCode::kUsage,
        "{} is not a directory (outputs are) choose another output", out.string());
  const PathKind place = path_kind(parent.string());
  check(place != PathKind::kNothing, ExitCode::kEnvironment, "{} does not exist (the output is made in it) create it",
        parent.string());
  check(place == PathKind::kDirectory, ExitCode::kEnvironment, "{} is not a directory (the output is made in it) choose another",
        parent.string());
  const bool writable = ::access(parent.c_str(), W_OK | X_OK) == 0;
  const int reason = errno;
  check(writable, ExitCode::kEnvironment, "{} is not writable ({}) choose a place this user may write to", parent.string(),
        std::generic_category().message(reason));
}

std::vector<std::string> leftover_folders(const std::string& output, const std::string& id) {
  const fs::path out = normal_path(output);
  std::vector<std::string> found;
  const std::string parent = out.parent_path().string();
  if (path_kind(parent) != PathKind::kDirectory) return found;
  for (const std::string& name : list_directory(parent))
    for (const char* kind : {kPartial, kSetAside}) {
      const std::string prefix = sibling(out, kind, "").filename().string();
      if (name.starts_with(prefix) && name != prefix + id) found.push_back((out.parent_path() / name).string());
    }
  return found;
}

StagedDirectory::StagedDirectory(std::string output, bool force, const std::string& id)
    : output_(std::move(output)),
      partial_(sibling(output_, kPartial, id).string()),
      set_aside_(sibling(output_, kSetAside, id).string()),
      force_(force) {}

StagedDirectory StagedDirectory::resume(const std::string& output, bool force, const std::string& id) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; };
  expect(!id.empty() && std::ranges::all_of(id, allowed), "\"{}\" is no id of a partial folder", id);
  check_output_free(output, force);
  StagedDirectory staged(normal_path(output).string(), force, id);
  std::error_code error;
  fs::create_directory(staged.partial_, error);
  check(!error, ExitCode::kEnvironment, "cannot create {} ({}) choose a place this user may write to", staged.partial_,
        error.message());
  return staged;
}

StagedDirectory StagedDirectory::create(const std::string& output, bool force, const std::string& id) {
  StagedDirectory staged = resume(output, force, id);
  for (const std::string& name : list_directory(staged.partial_)) {
    const fs::path path = fs::path(staged.partial_) / name;
    std::error_code error;
    fs::remove_all(path, error);
    check(!error, ExitCode::kEnvironment, "cannot remove {} ({}) remove it by hand", path.string(), error.message());
  }
  return staged;
}

StagedDirectory::StagedDirectory(StagedDirectory&& other) noexcept
    : output_(std::move(other.output_)),
      partial_(std::move(other.partial_)),
      set_aside_(std::move(other.set_aside_)),
      force_(other.force_),
      owned_(std::exchange(other.owned_, false)) {}

StagedDirectory::~StagedDirectory() {
  std::error_code ignored;  // a folder that stays is reported by the next run (leftover_folders)
  if (owned_) fs::remove_all(partial_, ignored);
}

void StagedDirectory::publish() {
  sync_tree(partial_);
  check_output_free(output_, force_);
  const bool replaces = path_kind(output_) != PathKind::kNothing;
  std::error_code error;
  if (replaces) {
    fs::remove_all(set_aside_, error);
    rename_path(output_, set_aside_);
  }
  try {
    rename_path(partial_, output_);
  } catch (const Error&) {
    if (replaces) fs::rename(set_aside_, output_, error);
    throw;
  }
  owned_ = false;
  sync_directory(fs::path(output_).parent_path().string());
  if (replaces) fs::remove_all(set_aside_, error);  // what stays is reported by the next run
}

}  // namespace mpiquant
