#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "src/comm/launch_env.h"

namespace mpiquant {

// An environment of these variables alone.
inline EnvLookup env(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

}  // namespace mpiquant
