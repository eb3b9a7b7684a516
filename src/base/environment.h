#pragma once

#include <cstdlib>
#include <string>

namespace mpiquant {

// A variable of this process's environment; empty when it is not set.
inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace mpiquant
