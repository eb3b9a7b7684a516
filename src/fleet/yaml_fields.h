#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mpiquant {

// A mapping of a YAML file, read field by field: every key is known or refused with the nearest known one, and no key is there
// twice. Errors (usage) name the file, the line and the key.
class YamlFields {
 public:
  // `where` names the mapping in messages: "defaults", "recipes.int4".
  YamlFields(const std::string& file, const YAML::Node& node, std::string where, const std::vector<std::string>& known);

  bool has(const std::string& key) const;
  YAML::Node at(const std::string& key) const;  // an undefined node when it is missing
  std::string where(const std::string& key) const;

  std::optional<std::string> text(const std::string& key) const;
  std::optional<std::int64_t> whole(const std::string& key, std::int64_t least, std::int64_t most) const;
  // A number of at least 0; "5%" is 0.05.
  std::optional<double> fraction(const std::string& key) const;

  [[noreturn]] void refuse(const std::string& key, const std::string& problem) const;

 private:
  const std::string& file_;
  YAML::Node node_;
  std::string where_;
};

// The keys of a mapping in their order, each once. Throws (usage error) when the node is no mapping.
std::vector<std::string> yaml_keys(const std::string& file, const YAML::Node& node, const std::string& where);

// A scalar as written, or the scalars of a list. Throws (usage error) for anything else.
std::vector<std::string> yaml_texts(const std::string& file, const YAML::Node& node, const std::string& where);

// "FILE:LINE: WHERE": the beginning of messages about a node.
std::string yaml_place(const std::string& file, const YAML::Node& node, const std::string& where);

// Parses a file of at most 1 MiB. Syntax errors are usage errors with their line.
YAML::Node load_yaml(const std::string& file);

}  // namespace mpiquant
