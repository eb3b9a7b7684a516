#include "io/manifest.h"

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigits = 64;
constexpr std::string_view kSeparator = "  ";

bool is_digest(std::string_view text) {
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// sha256sum escapes backslashes and line ends; names that need it are not written.
bool is_plain_path(const std::string& path) {
  const auto special = [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; };
  const fs::path whole(path);
  return !path.empty() && std::ranges::none_of(path, special) && whole.is_relative() &&
         std::ranges::find(whole, "..") == whole.end();
}

// Appends the files below directory/inner, as paths relative to the directory.
void add_files_below(const fs::path& directory, const fs::path& inner, std::vector<std::string>& paths) {
  for (const std::string& name : list_directory((directory / inner).string())) {
    const PathKind kind = path_kind((directory / inner / name).string());
    if (kind == PathKind::kDirectory) add_files_below(directory, inner / name, paths);
    if (kind == PathKind::kFile) paths.push_back((inner / name).string());
  }
}

}  // namespace

void write_manifest(const std::string& directory, const FileSums& sums) {
  std::string text;
  for (const auto& [path, digest] : sums) {
    expect(is_plain_path(path) && is_digest(digest), "\"{}\" with the sum \"{}\" cannot stand in a manifest", path, digest);
    text += digest + std::string(kSeparator) + path + "\n";
  }
  write_text_file((fs::path(directory) / kManifestName).string(), text);
}

FileSums parse_manifest(std::string_view text, std::string_view what) {
  FileSums sums;
  for (std::size_t line = 1; !text.empty(); ++line) {
    const std::size_t end = text.find('\n');
    check(end != std::string_view::npos, ExitCode::kInput, "{} has no line end in line {} (it is truncated) make it again", what,
          line);
    const std::string_view row = text.substr(0, end);
    text.remove_prefix(end + 1);
    // After the digest sha256sum writes "  " or, for binary mode, " *".
    const bool separated =
        row.size() > kDigits + 2 && row[kDigits] == ' ' && (row[kDigits + 1] == ' ' || row[kDigits + 1] == '*');
    check(separated && is_digest(row.substr(0, kDigits)), ExitCode::kInput,
          "{}: line {} is not a SHA-256 sum and a path (it is damaged) make it again", what, line);
    const std::string path(row.substr(kDigits + 2));
    check(is_plain_path(path), ExitCode::kInput, "{}: line {} names a file outside the directory (it is damaged or hostile)",
          what, line);
    check(sums.emplace(path, row.substr(0, kDigits)).second, ExitCode::kInput, "{}: line {} names {} again (it is ambiguous)",
          what, line, path);
  }
  return sums;
}

FileSums read_manifest(const std::string& directory) {
  const std::string path = (fs::path(directory) / kManifestName).string();
  return parse_manifest(read_text_file(path), path);
}

std::vector<std::string> files_below(const std::string& directory) {
  check(path_kind(directory) == PathKind::kDirectory, ExitCode::kInput,
        "{} is not a directory (a manifest describes one) check the path", directory);
  std::vector<std::string> paths;
  add_files_below(directory, "", paths);
  std::erase(paths, kManifestName);
  std::ranges::sort(paths);
  return paths;
}

FileSums sum_directory(const std::string& directory) {
  FileSums sums;
  for (const std::string& path : files_below(directory)) sums[path] = hash_file_sha256((fs::path(directory) / path).string());
  return sums;
}

std::vector<std::string> manifest_problems(const std::string& directory) {
  const FileSums sums = read_manifest(directory);
  std::vector<std::string> problems;
  for (const auto& [path, digest] : sums) {
    const std::string whole = (fs::path(directory) / path).string();
    if (path_kind(whole) != PathKind::kFile)
      problems.push_back(path + ": missing");
    else if (hash_file_sha256(whole) != digest)
      problems.push_back(path + ": content differs");
  }
  for (const std::string& path : files_below(directory))
    if (!sums.contains(path)) problems.push_back(path + ": not in the manifest");
  return problems;
}

void verify_manifest(const std::string& directory) {
  constexpr std::size_t kShown = 10;
  std::vector<std::string> problems = manifest_problems(directory);
  const std::size_t count = problems.size();
  if (count > kShown) problems.resize(kShown);
  check(count == 0, ExitCode::kCorrupt, "{}: {} files differ from {}: {} (the output is damaged) write or fetch it again",
        directory, count, kManifestName, fmt::join(problems, "; "));
}

}  // namespace mpiquant
