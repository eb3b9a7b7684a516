#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace mpiquant {

// A file that comes with the program ("configs/calibration/corpus-calibration.txt"): under $MPIQUANT_HOME, or beside the program
// in the clone it was built in (BUILD/bin), or where it was installed (PREFIX/bin, PREFIX/share/mpiquant). Throws (environment
// error).
std::optional<std::filesystem::path> find_resource(const std::string& name);

}  // namespace mpiquant
