#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "src/base/json.h"

namespace mpiquant {

// Typed access to the keys of a JSON object of config.json. A key that is absent or null counts as unset, as in Transformers.
// Every problem is an input error that names the key, its value and what is expected.
class ConfigReader {
 public:
  // where: how errors call the object ("config.json", "config.json: rope_scaling"). The object must outlive the reader.
  ConfigReader(const Json& object, std::string where);

  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool contains(std::string_view key) const { return object_.contains(std::string(key)); }
  const std::string& where() const { return where_; }

  // An integer in [1, 2^31 - 1]: sizes, counts, context lengths.
  std::int64_t size(std::string_view key) const;
  std::int64_t size_or(std::string_view key, std::int64_t unset) const;
  std::optional<std::int64_t> integer(std::string_view key) const;
  // A finite number > 0.
  double positive(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  bool flag_or(std::string_view key, bool unset) const;
  std::optional<std::string> text(std::string_view key) const;
  std::optional<ConfigReader> object(std::string_view key) const;
  const Json* find(std::string_view key) const;  // null if unset

  // Fails: key has a value that is not supported; supported says what is.
  [[noreturn]] void unsupported(std::string_view key, std::string_view supported) const;

 private:
  const Json& required(std::string_view key) const;
  [[noreturn]] void wrong(std::string_view key, const Json& value, std::string_view expected) const;

  const Json& object_;
  std::string where_;
};

}  // namespace mpiquant
