#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace mpiquant {

// SHA256SUMS of a directory, in the form that `sha256sum -c` reads: 64 digits, two spaces, path relative to the directory.

inline constexpr const char* kManifestName = "SHA256SUMS";

// Path → digest. A path is relative, stays inside the directory and has no control character or backslash.
using FileSums = std::map<std::string, std::string>;

// Writes <directory>/SHA256SUMS, sorted by path.
void write_manifest(const std::string& directory, const FileSums& sums);
// Parses the text of a manifest; `what` names it in input errors.
FileSums parse_manifest(std::string_view text, std::string_view what);
FileSums read_manifest(const std::string& directory);

// All files below a directory but the manifest, as relative paths, sorted; `sum_directory` reads and hashes them.
std::vector<std::string> files_below(const std::string& directory);
FileSums sum_directory(const std::string& directory);

// What differs from the manifest: "PATH: missing", "PATH: content differs", "PATH: not in the manifest". Empty when all is well.
std::vector<std::string> manifest_problems(const std::string& directory);
// Throws (corrupt output) with the first problems when there are any.
void verify_manifest(const std::string& directory);

}  // namespace mpiquant
