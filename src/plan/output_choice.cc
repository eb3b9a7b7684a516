#include "src/plan/output_choice.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {
namespace {

using Strings = std::vector<std::string>;

constexpr std::string_view kName = "name";
constexpr std::string_view kRule = "rule";
constexpr std::size_t kLongestName = 64;

struct Format {
  std::string container, codec;

  bool gguf() const { return container == "gguf"; }
  // Codes of the recipe's width and groups, in this container or decoded from another's.
  bool integers() const {
    return !gguf() &&
           (codec.empty() || std::ranges::any_of(containers(), [&](const Container* c) { return c->name() == codec; }));
  }
  // Codes of a quantized GGUF type, whose name may have capitals.
  bool blocks() const {
    const auto lower = [](unsigned char c) { return static_cast<char>(std::tolower(c)); };
    return (gguf() && codec.empty()) ||
           std::ranges::any_of(ggml_codecs(), [&](std::string_view type) { return std::ranges::equal(codec, type, {}, lower); });
  }
};

Format split_format(const std::string& format) {
  const std::size_t colon = std::min(format.find(':'), format.size());
  return {format.substr(0, colon), colon == format.size() ? "" : format.substr(colon + 1)};
}

bool always(const Format&) { return true; }
bool has_integers(const Format& format) { return format.integers(); }
bool has_bits(const Format& format) { return format.integers() || (format.gguf() && format.codec.empty()); }
bool is_dense(const Format& format) { return format.container == "dense"; }
bool is_gguf(const Format& format) { return format.gguf(); }
bool is_repository(const Format& format) { return !format.gguf(); }

// A field of the recipe that an output may have of its own, where it has an effect.
struct OwnKey {
  std::string_view key;
  bool (*has_effect)(const Format& format);
  std::string_view why;  // it has none elsewhere
};
constexpr auto kOwnKeys = std::to_array<OwnKey>({
    {"bits", has_bits, "its type has its own bits"},
    {"group_size", has_integers, "its type has blocks of its own"},
    {"sym", has_bits, "its type has its own grid"},
    {"mse", has_integers, "its type has its own scales"},
    {"transforms", always, ""},
    {"ragged", always, ""},
    {"lm_head", always, ""},
    {"untie", always, ""},
    {"dense_dtype", is_dense, "it is of the dense format"},
    {"embedding_type", is_gguf, "it is a GGUF type"},
    {"output_type", is_gguf, "it is a GGUF type"},
    {"gguf_pre", is_gguf, "it is written into GGUF files"},
    {"max_shard_size", is_repository, "a GGUF file is one file"},
});

// `recipe` with a value of a field. The field's own errors, and those of the recipe's range of values, pass through.
Recipe with(const Recipe& recipe, const std::string& key, const FieldText& given) {
  RunChoices choices;
  choices.recipe = recipe;
  find_recipe_field("", key)->set(choices, given);
  check_values(choices);
  return choices.recipe;
}

// Text between separators outside of brackets. Throws when brackets are not in pairs.
Strings split_outside(const std::string& text, char separator) {
  Strings parts(1);
  int depth = 0;
  for (const char c : text) {
    if (c == '[') ++depth;
    if (c == ']') --depth;
    check(depth >= 0, ExitCode::kUsage, "\"{}\" has a ] without its [ (they hold what is an output's own) mend it", text);
    if (c == separator && depth == 0)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  check(depth == 0, ExitCode::kUsage, "\"{}\" has a [ without its ] (they hold what is an output's own) mend it", text);
  return parts;
}

std::string without_brackets(const std::string& text) {
  return text.starts_with('[') && text.ends_with(']') ? text.substr(1, text.size() - 2) : text;
}

// "KEY=VALUE", of what is between an output's brackets.
void set_item(OutputChoice& output, const std::string& item, std::map<std::string, Strings>& lists) {
  const std::size_t equals = item.find('=');
  const std::string key = item.substr(0, equals);
  Strings known = own_keys();
  known.insert(known.begin(), std::string(kName));
  known.emplace_back(kRule);
  check(std::ranges::find(known, key) != known.end(), ExitCode::kUsage, "unknown key \"{}\" in an output {}", key,
        suggestion(key, known));
  check(equals != std::string::npos, ExitCode::kUsage, "{} has no value (an output's own choices are KEY=VALUE) give one", key);
  const std::string value = without_brackets(item.substr(equals + 1));
  if (key == kRule) {
    output.rules.push_back(parse_rule(value));
    return;
  }
  const bool list = key != kName && find_recipe_field("", key)->kind == FieldKind::kList;
  check(list || !lists.contains(key), ExitCode::kUsage, "{} is given twice (one of them would have no effect) keep one", key);
  lists[key].push_back(value);
  if (key == kName)
    set_name(output, {key, lists[key]});
  else
    set_own(output, key, {key, lists[key]});
}

OutputChoice parse_output(const std::string& text) {
  OutputChoice output;
  const std::size_t open = text.find('[');
  output.format = text.substr(0, open);
  check_format(output.format);
  if (open == std::string::npos) return output;
  check(text.ends_with(']'), ExitCode::kUsage, "something follows the brackets of an output (they are its end) remove it");
  std::map<std::string, Strings> lists;
  for (const std::string& item : split_outside(without_brackets(text.substr(open)), ',')) set_item(output, item, lists);
  check_output(output);
  return output;
}

std::string to_text(const Rule& rule) {
  Strings parts;
  if (rule.dense) parts.emplace_back("dense");
  if (rule.bits) parts.push_back(fmt::format("bits={}", *rule.bits));
  if (rule.group_size) parts.push_back(fmt::format("group_size={}", *rule.group_size));
  if (rule.symmetric) parts.push_back(fmt::format("sym={}", *rule.symmetric));
  if (rule.codec) parts.push_back("codec=" + *rule.codec);
  return fmt::format("{}:{}", rule.pattern, fmt::join(parts, ","));
}

}  // namespace

std::string OutputChoice::folder() const {
  std::string out = label();
  std::ranges::replace(out, ':', '-');
  return out;
}

Strings own_keys() {
  Strings keys;
  for (const OwnKey& own : kOwnKeys) keys.emplace_back(own.key);
  return keys;
}

void set_own(OutputChoice& output, const std::string& key, const FieldText& given) {
  with({}, key, given);
  output.own[key] = given.texts;
}

void set_name(OutputChoice& output, const FieldText& given) {
  const std::string& name = given.texts.front();
  const auto fits = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.'; };
  check(!name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, fits) && name.front() != '.' &&
            name.front() != '-' && name != "original",
        ExitCode::kUsage,
        "{} = \"{}\" cannot name an output (a folder is called so, and --propagate may name it) take letters, digits, - _ and . "
        "that begin with a letter, a digit or _, and not \"original\"",
        given.name, name);
  output.name = name;
}

void check_output(const OutputChoice& output) {
  const Format format = split_format(output.format);
  for (const OwnKey& own : kOwnKeys)
    check(!output.own.contains(std::string(own.key)) || own.has_effect(format), ExitCode::kUsage,
          "{} has no effect on {} ({}) remove it", own.key, output.format, own.why);
  for (const Rule& rule : output.rules) {
    const bool chooses = (format.integers() || format.blocks()) && rule.chooses(format.integers());
    check(rule.dense || chooses, ExitCode::kUsage, "the rule for \"{}\" has no effect on {} ({}) make it dense, or remove it",
          rule.pattern, output.format,
          format.integers() ? "its codes are integers of bits, group_size and sym"
          : format.blocks() ? "its type has its own bits and groups; codec names another"
                            : "nothing is quantized in it");
  }
}

void check_labels(const std::vector<OutputChoice>& outputs) {
  std::map<std::string, std::string> labels;  // by folder
  for (const OutputChoice& output : outputs) {
    const auto [other, added] = labels.emplace(output.folder(), output.label());
    check(added, ExitCode::kUsage,
          "two outputs are called {}{} (each has a folder of its name) give one of them another name, as in {}[name=small]",
          output.label(), other->second == output.label() ? "" : " and " + other->second, output.format);
  }
}

std::vector<OutputChoice> parse_outputs(std::span<const std::string> texts, const std::string& name) {
  std::vector<OutputChoice> outputs;
  for (const std::string& text : texts)
    for (const std::string& part : split_outside(text, ',')) {
      if (part.empty()) continue;
      try {
        outputs.push_back(parse_output(part));
      } catch (const Error& error) {
        if (part.find('[') == std::string::npos) throw;
        fail(error.code(), "{}: {}", part, error.what());
      }
    }
  check(!outputs.empty(), ExitCode::kUsage, "{} is empty (nothing would be written) name a format, as gptq", name);
  return outputs;
}

std::vector<OutputChoice> parse_outputs(const std::string& text) { return parse_outputs(std::span(&text, 1), "--format"); }

std::string to_text(const OutputChoice& output) {
  Strings parts;
  if (!output.name.empty()) parts.push_back(fmt::format("{}={}", kName, output.name));
  for (const auto& [key, values] : output.own) {
    if (values.empty()) parts.push_back(key + "=");  // an empty list, in place of the recipe's
    for (const std::string& value : values) parts.push_back(fmt::format("{}={}", key, value));
  }
  for (const Rule& rule : output.rules) parts.push_back(fmt::format("{}=[{}]", kRule, to_text(rule)));
  return parts.empty() ? output.format : fmt::format("{}[{}]", output.format, fmt::join(parts, ","));
}

std::string to_text(const std::vector<OutputChoice>& outputs) {
  Strings parts;
  for (const OutputChoice& output : outputs) parts.push_back(to_text(output));
  return fmt::format("{}", fmt::join(parts, ","));
}

Recipe recipe_of(const Recipe& recipe, const OutputChoice& output) {
  Recipe out = recipe;
  for (const auto& [key, values] : output.own) out = with(out, key, {key, values});
  out.rules = output.rules;
  out.rules.insert(out.rules.end(), recipe.rules.begin(), recipe.rules.end());
  out.outputs = {{output.format, output.name, {}, {}}};
  return out;
}

}  // namespace mpiquant
