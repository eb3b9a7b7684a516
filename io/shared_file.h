#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "src/base/json.h"

namespace mpiquant {

// Small files that are replaced as a whole, and read and written by any number of processes on any hosts.

// Replaces a file as a whole; several processes may do so at once, and one of them wins. Missing folders are made.
void replace_shared_file(const std::string& path, std::string_view text);

// Makes a file with this content unless there is one. Exactly one of several processes gets true.
bool create_shared_file(const std::string& path, std::string_view text);

// The JSON of a file, or nothing when it is not there. Input errors name it.
std::optional<Json> read_state(const std::string& path);

// Seconds after 1970 by this host's clock.
double now_seconds();

// "2026-11-21 16:05" in UTC.
std::string time_text(double seconds);

}  // namespace mpiquant
