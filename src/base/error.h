#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace mpiquant {

// Process exit codes; the same on every rank of a job. Documented in the README.
enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,
  kUsage = 2,        // command line, recipe, or a plan that cannot fit
  kInput = 3,        // an input is invalid
  kCorrupt = 4,      // an output is corrupt
  kGate = 5,         // a quality gate or a forbidden fallback
  kEnvironment = 6,  // I/O, memory, device, network, lost rank: can be resumed
  kStopped = 75,     // stopped on request, can be resumed
};

// An error for the user. The message reads "problem (why it matters) suggestion".
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const noexcept { return code_; }

 private:
  ExitCode code_;
};

template <typename... Args>
[[noreturn]] void fail(ExitCode code, fmt::format_string<Args...> text, Args&&... args) {
  throw Error(code, fmt::format(text, std::forward<Args>(args)...));
}

// Throws an Error of the given code unless the condition holds.
template <typename... Args>
void check(bool condition, ExitCode code, fmt::format_string<Args...> text, Args&&... args) {
  if (!condition) throw Error(code, fmt::format(text, std::forward<Args>(args)...));
}

// A broken promise between parts of the program (always checked).
template <typename... Args>
void expect(bool condition, fmt::format_string<Args...> text, Args&&... args) {
  if (!condition) throw Error(ExitCode::kInternal, "internal error: " + fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace mpiquant
