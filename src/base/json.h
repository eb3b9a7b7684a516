#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace mpiquant {

using Json = nlohmann::ordered_json;

// Parses JSON text; duplicate keys, trailing text, invalid UTF-8 and nesting deeper than 200 are input errors that name `what`.
Json parse_json(std::string_view text, std::string_view what);
// The same, with objects sorted by key: linear lookups of Json make objects of many thousand keys slow.
nlohmann::json parse_json_by_key(std::string_view text, std::string_view what);

}  // namespace mpiquant
