#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace mpiquant {

using Json = nlohmann::ordered_json;

// Parses JSON text; duplicate keys, trailing text, invalid UTF-8 and nesting deeper than 200 are input errors that name `what`.
Json parse_json(std::string_view text, std::string_view what);

}  // namespace mpiquant
