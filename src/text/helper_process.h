#pragma once

#include <string>
#include <vector>

namespace mpiquant {

// Runs a program (looked up in PATH), waits for it, and returns what it wrote to standard output; its standard error is ours.
// A program that cannot be started, dies or ends with another status than 0 is an error: with the "error" of the last line of its
// output if that is a JSON object, of the kind that its exit code says (3: input, else environment).
std::string run_helper(const std::vector<std::string>& command);

}  // namespace mpiquant
