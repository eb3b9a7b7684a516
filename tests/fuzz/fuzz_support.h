#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "src/base/error.h"

namespace mpiquant {

// A target: parses `data`. It may throw an input or usage error; anything else ends the program and counts as found.
void fuzz_target(std::string_view data);

// A folder of this process, in memory where the system has such a place.
const std::filesystem::path& fuzz_folder();
// The path of a file of that name in fuzz_folder() with this content.
std::string fuzz_file(const std::string& name, std::string_view content);

// Runs a step that the outcome of another does not stop.
template <typename Work>
void refusable(Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kInput && error.code() != ExitCode::kUsage) throw;
  }
}

}  // namespace mpiquant
