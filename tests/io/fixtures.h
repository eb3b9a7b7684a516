#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "src/base/error.h"

namespace mpiquant {

// A folder of one test, empty at its start and removed at its end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mq-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline std::string source_path(const std::string& name) { return std::string(MPIQUANT_SOURCE_DIR) + "/" + name; }

inline std::string bundled_model() { return source_path("tests/models/tiny-llama"); }

// A third-party fixture outside the project, or "" (after a line on stderr) when it is absent.
inline std::string fixture_path(const std::string& name) {
  const char* root = std::getenv("MPIQUANT_FIXTURES");
  const std::string path = (root != nullptr ? std::string(root) : source_path("../shared/fixtures")) + "/" + name;
  if (std::filesystem::exists(path)) return path;
  std::fprintf(stderr, "*** fixture %s is absent: set MPIQUANT_FIXTURES ***\n", path.c_str());
  return "";
}

// The Error that `body` throws; a test failure when it throws none.
template <typename Body>
Error error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error was thrown";
  return Error(ExitCode::kDone, "");
}

}  // namespace mpiquant
