#include "src/fleet/yaml_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {

std::string yaml_place(const std::string& file, const YAML::Node& node, const std::string& where) {
  const int line = node.IsDefined() ? node.Mark().line + 1 : 0;
  return fmt::format("{}:{}: {}", file, line, where.empty() ? "the file" : where);
}

YAML::Node load_yaml(const std::string& file) {
  constexpr std::int64_t kMaxBytes = 1 << 20;
  const std::string text = read_text_file(file, kMaxBytes);
  try {
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    fail(ExitCode::kUsage, "{}:{}: {} (it is no YAML) correct this line", file, error.mark.line + 1, error.msg);
  }
}

std::vector<std::string> yaml_keys(const std::string& file, const YAML::Node& node, const std::string& where) {
  check(node.IsMap(), ExitCode::kUsage, "{} is no mapping (keys with values are expected here)", yaml_place(file, node, where));
  std::vector<std::string> keys;
  for (const auto& entry : node) {
    check(entry.first.IsScalar(), ExitCode::kUsage, "{} has a key that is no word", yaml_place(file, entry.first, where));
    keys.push_back(entry.first.Scalar());
    check(std::count(keys.begin(), keys.end(), keys.back()) == 1, ExitCode::kUsage,
          "{} has the key \"{}\" twice (one of them would be ignored) keep one", yaml_place(file, entry.first, where),
          keys.back());
  }
  return keys;
}

std::vector<std::string> yaml_texts(const std::string& file, const YAML::Node& node, const std::string& where) {
  if (node.IsScalar()) return {node.Scalar()};
  check(node.IsSequence(), ExitCode::kUsage, "{} is neither a value nor a list of values", yaml_place(file, node, where));
  std::vector<std::string> out;
  for (const YAML::Node& item : node) {
    check(item.IsScalar(), ExitCode::kUsage, "{} has an item that is no value", yaml_place(file, item, where));
    out.push_back(item.Scalar());
  }
  return out;
}

YamlFields::YamlFields(const std::string& file, const YAML::Node& node, std::string where, const std::vector<std::string>& known)
    : file_(file), node_(node), where_(std::move(where)) {
  const auto key_node = [&](const std::string& key) {
    for (const auto& entry : node_)
      if (entry.first.Scalar() == key) return YAML::Node(entry.first);
    return YAML::Node();
  };
  for (const std::string& key : yaml_keys(file_, node_, where_))
    check(std::find(known.begin(), known.end(), key) != known.end(), ExitCode::kUsage, "{} has the unknown key \"{}\" {}",
          yaml_place(file_, key_node(key), where_), key, suggestion(key, known));
}

bool YamlFields::has(const std::string& key) const {
  const YAML::Node value = at(key);
  return value.IsDefined() && !value.IsNull();
}

YAML::Node YamlFields::at(const std::string& key) const { return node_[key]; }

std::string YamlFields::where(const std::string& key) const { return where_.empty() ? key : where_ + "." + key; }

void YamlFields::refuse(const std::string& key, const std::string& problem) const {
  fail(ExitCode::kUsage, "{} {}", yaml_place(file_, at(key), where(key)), problem);
}

std::optional<std::string> YamlFields::text(const std::string& key) const {
  if (!has(key)) return std::nullopt;
  if (!at(key).IsScalar()) refuse(key, "is not one value");
  return at(key).Scalar();
}

std::optional<std::int64_t> YamlFields::whole(const std::string& key, std::int64_t least, std::int64_t most) const {
  const std::optional<std::string> word = text(key);
  if (!word) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(word->data(), word->data() + word->size(), value);
  if (error != std::errc() || end != word->data() + word->size() || value < least || value > most)
    refuse(key, fmt::format("is \"{}\" (give a whole number from {} to {})", *word, least, most));
  return value;
}

std::optional<double> YamlFields::fraction(const std::string& key) const {
  const std::optional<std::string> word = text(key);
  if (!word) return std::nullopt;
  const bool percent = word->ends_with('%');
  const char* const last = word->data() + word->size() - (percent ? 1 : 0);
  double value = 0;
  const auto [end, error] = std::from_chars(word->data(), last, value);
  if (error != std::errc() || end != last || !std::isfinite(value) || value < 0)
    refuse(key, fmt::format("is \"{}\" (give a number of at least 0, as in 0.05 or 5%)", *word));
  return percent ? value / 100 : value;
}

}  // namespace mpiquant
