#pragma once

#include <filesystem>
#include <string>

namespace mpiquant {

// The bytes of a file. A file that is absent or a directory is an input error, a failed read one of the environment.
std::string read_text_file(const std::filesystem::path& path);

}  // namespace mpiquant
