#pragma once

#include <string>

namespace mpiquant {

// The manual page in troff, made from the pages of all commands. It holds nothing that depends on time, place or what is
// installed.
std::string manual();

}  // namespace mpiquant
