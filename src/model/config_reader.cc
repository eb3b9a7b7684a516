#include "src/model/config_reader.h"

#include <cmath>
#include <limits>
#include <utility>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kMaxSize = std::numeric_limits<std::int32_t>::max();

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

// JSON integers above int64 arrive as unsigned and are refused as out of range.
std::optional<std::int64_t> as_integer(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  return value.get<std::int64_t>();
}

}  // namespace

ConfigReader::ConfigReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
  check(object_.is_object(), ExitCode::kInput, "{} is not a JSON object but {}", where_, shown(object_));
}

const Json* ConfigReader::find(std::string_view key) const {
  const auto it = object_.find(std::string(key));
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

const Json& ConfigReader::required(std::string_view key) const {
  const Json* value = find(key);
  check(value != nullptr, ExitCode::kInput, "{}: the key '{}' is missing (the model cannot be built without it)", where_, key);
  return *value;
}

void ConfigReader::wrong(std::string_view key, const Json& value, std::string_view expected) const {
  fail(ExitCode::kInput, "{}: {} is {} but must be {}", where_, key, shown(value), expected);
}

void ConfigReader::unsupported(std::string_view key, std::string_view supported) const {
  const Json* value = find(key);
  fail(ExitCode::kInput, "{}: {} = {} is not supported; supported: {}", where_, key, value ? shown(*value) : "null", supported);
}

std::int64_t ConfigReader::size(std::string_view key) const {
  const Json& value = required(key);
  const auto number = as_integer(value);
  if (!number || *number < 1 || *number > kMaxSize) wrong(key, value, "an integer from 1 to 2147483647");
  return *number;
}

std::int64_t ConfigReader::size_or(std::string_view key, std::int64_t unset) const { return has(key) ? size(key) : unset; }

std::optional<std::int64_t> ConfigReader::integer(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto number = as_integer(*value);
  if (!number) wrong(key, *value, "an integer");
  return number;
}

double ConfigReader::positive(std::string_view key) const {
  const Json& value = required(key);
  if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>()))
    wrong(key, value, "a finite number above 0");
  return value.get<double>();
}

std::optional<double> ConfigReader::number(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>())) wrong(key, *value, "a finite number");
  return value->get<double>();
}

bool ConfigReader::flag_or(std::string_view key, bool unset) const {
  const Json* value = find(key);
  if (value == nullptr) return unset;
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> ConfigReader::text(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) wrong(key, *value, "a string");
  return value->get<std::string>();
}

std::optional<ConfigReader> ConfigReader::object(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return ConfigReader(*value, where_ + ": " + std::string(key));
}

}  // namespace mpiquant
