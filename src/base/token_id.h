#pragma once

#include <cstdint>

#include "src/base/json.h"

namespace mpiquant {

// A token's id: a whole number in [0, 2^31). Anything else is an input error.
std::int32_t token_id(const Json& value);
std::int32_t token_id(const nlohmann::json& value);

}  // namespace mpiquant
