#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace mpiquant {

enum class Verbosity { kQuiet, kNormal, kVerbose };

// Prepares logging to standard error, in colours on a terminal unless NO_COLOR is set. A rank other than 0 of a job prints
// nothing but at kVerbose. Call once, first.
void start_logging(Verbosity verbosity, int rank);

// One line on standard error, at the given importance.
void log_info(const std::string& line);
void log_warning(const std::string& line);
void log_debug(const std::string& line);

// True where a line of status is shown below the log: on a terminal, unless quiet.
bool log_shows_status();
// Sets that line, without a line break and shorter than the terminal is wide; "" takes it away.
void log_status(const std::string& status);

template <typename... Args>
void info_line(fmt::format_string<Args...> text, Args&&... args) {
  log_info(fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
void warn_line(fmt::format_string<Args...> text, Args&&... args) {
  log_warning(fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace mpiquant
