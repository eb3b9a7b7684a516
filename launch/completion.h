#pragma once

#include <string>
#include <vector>

namespace mpiquant {

// Shells that completion_script knows.
std::vector<std::string> completion_shells();
// A script that completes commands, options and their values, made from the pages of all commands. Throws (usage error) for
// another shell.
std::string completion_script(const std::string& shell);

}  // namespace mpiquant
