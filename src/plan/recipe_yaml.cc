#include "src/plan/recipe_yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/plan/output_choice.h"
#include "src/plan/recipe_fields.h"
#include "src/text/unicode.h"

namespace mpiquant {
namespace {

using Strings = std::vector<std::string>;

// Keys of the document that are no fields of the table.
constexpr std::string_view kVersion = "version";
constexpr std::string_view kDescription = "description";
constexpr std::string_view kRules = "rules";
constexpr std::string_view kOutputs = "outputs";

class Reader {
 public:
  explicit Reader(const std::string& what) : what_(what) {}

  RunChoices read(const YAML::Node& root) {
    if (!root.IsMap()) refuse(root, "a recipe is a mapping of keys to values (see docs/recipes.md) begin with \"version: 1\"");
    bool versioned = false;
    each(root, "", [&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
      if (key == kVersion) {
        versioned = true;
        if (scalar(value, key, name) != "1")
          refuse(value, "version {} is unknown (this program reads version 1)", value.Scalar());
      } else if (key == kDescription) {
        choices_.description = scalar(value, key, name);
      } else if (key == kRules) {
        choices_.recipe.rules = read_rules(value);
      } else if (key == kOutputs) {
        read_outputs(value);
      } else if (is_section(key)) {
        if (!value.IsMap()) refuse(value, "{} is a mapping of keys to values (see docs/recipes.md) give one", key);
        each(value, key,
             [&](const std::string& inner, const YAML::Node& at, const YAML::Node& given) { read_field(key, inner, at, given); });
      } else {
        read_field("", key, name, value);
      }
    });
    if (!versioned) refuse(root, "the recipe has no version (a later program could read it differently) add \"version: 1\"");
    return std::move(choices_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(const YAML::Node& at, fmt::format_string<Args...> text, Args&&... args) const {
    fail(ExitCode::kUsage, "{}: {}", place(at.Mark()), fmt::format(text, std::forward<Args>(args)...));
  }
  std::string place(const YAML::Mark& mark) const {
    return mark.is_null() ? what_ : fmt::format("{}:{}:{}", what_, mark.line + 1, mark.column + 1);
  }
  // Runs a reader of one value; its errors get the place of the value.
  template <typename Work>
  void at(const YAML::Node& node, Work&& work) {
    try {
      work();
      check_values(choices_);
    } catch (const Error& error) {
      refuse(node, "{}", error.what());
    }
  }

  // Calls visit(key, key node, value) for each pair; keys are texts and differ.
  template <typename Visit>
  void each(const YAML::Node& map, std::string_view section, Visit&& visit) const {
    std::map<std::string, int> lines;
    for (const auto& pair : map) {
      if (!pair.first.IsScalar()) refuse(pair.first, "a key is a word (see docs/recipes.md)");
      const std::string& key = pair.first.Scalar();
      const auto [known, added] = lines.emplace(key, pair.first.Mark().line + 1);
      if (!added)
        refuse(pair.first, "the key \"{}\" is given twice (first in line {}) keep one", path(section, key), known->second);
      visit(key, pair.first, pair.second);
    }
  }

  // key: where a missing value is looked for; YAML puts it where the next thing begins.
  const std::string& scalar(const YAML::Node& node, const std::string& name, const YAML::Node& key) const {
    if (node.IsNull()) refuse(key, "{} has no value (an empty one could mean anything) give one or remove the key", name);
    if (!node.IsScalar()) refuse(node, "{} is one value, not a list or mapping (see docs/recipes.md)", name);
    // "?" is a plain scalar and "!" a quoted one; any other tag was written down.
    if (!node.Tag().empty() && node.Tag() != "?" && node.Tag() != "!")
      refuse(node, "{} has the tag {} (types follow from the keys) remove it", name, node.Tag());
    return node.Scalar();
  }

  // Choices of `key` in a mapping of its own, as a rule or an output.
  void known_key(const YAML::Node& at_node, const std::string& where, const std::string& key, const Strings& known) const {
    if (std::find(known.begin(), known.end(), key) == known.end())
      refuse(at_node, "unknown key \"{}\" in {} {}", key, where, suggestion(key, known));
  }

  bool is_section(const std::string& key) const {
    for (const RecipeField& field : recipe_fields())
      if (!field.section.empty() && field.section == key) return true;
    return false;
  }
  static std::string path(std::string_view section, const std::string& key) {
    return section.empty() ? key : fmt::format("{}.{}", section, key);
  }

  [[noreturn]] void refuse_key(const std::string& section, const std::string& key, const YAML::Node& name) const {
    Strings known;
    if (section.empty()) known = {std::string(kVersion), std::string(kDescription)};
    for (const RecipeField& field : recipe_fields()) {
      if (field.section == section) known.emplace_back(field.key);
      if (section.empty() && !field.section.empty() && std::find(known.begin(), known.end(), field.section) == known.end())
        known.emplace_back(field.section);
    }
    if (section == "gates" && (key == "max_perplexity_rise" || key == "max_perplexity" || key == "max_kl"))
      refuse(name,
             "gates.{} cannot be checked by quantize (it does not score text) remove it, and compare with mpiquant evaluate "
             "OUTPUT --reference MODEL",
             key);
    for (const RecipeField& field : recipe_fields())
      if (field.key == key && field.section != section)
        refuse(name, "unknown key \"{}\" (its place is \"{}\") move it there", path(section, key), field.path());
    refuse(name, "unknown key \"{}\" {}", path(section, key), suggestion(key, known));
  }

  void read_field(const std::string& section, const std::string& key, const YAML::Node& name, const YAML::Node& value) {
    const RecipeField* field = find_recipe_field(section, key);
    if (field == nullptr) refuse_key(section, key, name);
    const FieldText given = field_text(field->path(), field, name, value);
    at(value, [&] { field->set(choices_, given); });
  }
  // The value of a field (null: of a key that is none), one or a list; called `path` in messages.
  FieldText field_text(std::string path, const RecipeField* field, const YAML::Node& name, const YAML::Node& value) const {
    FieldText given{std::move(path), {}};
    if (field != nullptr && field->kind == FieldKind::kList && value.IsSequence()) {
      for (const YAML::Node& item : value) given.texts.push_back(scalar(item, given.name, item));
    } else {
      given.texts.push_back(scalar(value, given.name, name));
    }
    return given;
  }

  std::vector<Rule> read_rules(const YAML::Node& value) {
    if (!value.IsSequence())
      refuse(value, "rules is a list of mappings with a pattern each (the first match decides) give a list");
    std::vector<Rule> rules;
    for (const YAML::Node& item : value) rules.push_back(read_rule(item));
    return rules;
  }

  Rule read_rule(const YAML::Node& item) {
    static const Strings kKeys = {"pattern", "dense", "bits", "group_size", "sym", "codec"};
    if (!item.IsMap()) refuse(item, "a rule is a mapping (as {{pattern: \"*.down_proj\", bits: 8}}) give one");
    Rule rule{.pattern = "", .dense = false, .bits = {}, .group_size = {}, .symmetric = {}};
    each(item, "rules", [&](const std::string& key, const YAML::Node& name, const YAML::Node& given) {
      known_key(name, "a rule", key, kKeys);
      const std::string& text = scalar(given, "rules." + key, name);
      // Values of a rule are read as those of the whole recipe.
      RunChoices one;
      const auto as_field = [&](std::string_view field) {
        try {
          find_recipe_field("", field)->set(one, {"rules." + key, {text}});
          check_values(one);
        } catch (const Error& error) {
          refuse(given, "{}", error.what());
        }
      };
      if (key == "pattern") rule.pattern = text;
      if (key == "dense") as_field("sym"), rule.dense = one.recipe.symmetric;
      if (key == "bits") as_field("bits"), rule.bits = one.recipe.bits;
      if (key == "group_size") as_field("group_size"), rule.group_size = one.recipe.group_size;
      if (key == "sym") as_field("sym"), rule.symmetric = one.recipe.symmetric;
      if (key == "codec") rule.codec = text;
    });
    at(item, [&] { check_rule(rule); });
    return rule;
  }

  void read_outputs(const YAML::Node& value) {
    if (!value.IsSequence()) refuse(value, "outputs is a list (each entry is an output) give a list, as [gptq, \"gguf:q4_0\"]");
    std::vector<OutputChoice> outputs;
    for (const YAML::Node& item : value) {
      if (item.IsMap()) {
        outputs.push_back(read_output(item));
        continue;
      }
      const std::string& text = scalar(item, "outputs", item);
      at(item, [&] {
        for (OutputChoice& output : parse_outputs(text)) outputs.push_back(std::move(output));
      });
    }
    if (outputs.empty()) refuse(value, "outputs is empty (nothing would be written) name a format, as gptq");
    at(value, [&] { choices_.recipe.outputs = std::move(outputs); });
  }

  OutputChoice read_output(const YAML::Node& item) {
    const Strings own = own_keys();
    Strings known = {"container", "codec", "name"};
    known.insert(known.end(), own.begin(), own.end());
    known.emplace_back(kRules);
    std::string container;
    std::string codec;
    OutputChoice output;
    each(item, "outputs", [&](const std::string& key, const YAML::Node& name, const YAML::Node& value) {
      known_key(name, "an output", key, known);
      if (key == kRules) {
        output.rules = read_rules(value);
        return;
      }
      const FieldText given = field_text("outputs." + key, find_recipe_field("", key), name, value);
      if (key == "container") container = given.texts.front();
      if (key == "codec") codec = given.texts.front();
      if (key == "name") at(value, [&] { set_name(output, given); });
      if (std::find(own.begin(), own.end(), key) != own.end()) at(value, [&] { set_own(output, key, given); });
    });
    if (container.empty()) refuse(item, "an output has no container (it says how tensors are filed) give one, as gptq");
    output.format = codec.empty() ? container : container + ":" + codec;
    at(item, [&] {
      check_format(output.format);
      check_output(output);
    });
    return output;
  }

  const std::string& what_;
  RunChoices choices_;
};

// Takes the events of a document and does nothing with them.
class Nobody : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

// Looks at two documents at most: yaml-cpp finds documents without end in some broken texts.
bool holds_one_document(std::string_view text) {
  std::istringstream stream{std::string(text)};
  YAML::Parser parser(stream);
  Nobody nobody;
  return parser.HandleNextDocument(nobody) && !parser.HandleNextDocument(nobody);
}

}  // namespace

RunChoices parse_recipe_yaml(std::string_view text, const std::string& what) {
  try {
    check_utf8(text, what);
  } catch (const Error& error) {
    fail(ExitCode::kUsage, "{}", error.what());
  }
  try {
    check(holds_one_document(text), ExitCode::kUsage, "{} does not hold one document (a recipe is one) give a file with one",
          what);
    return Reader(what).read(YAML::Load(std::string(text)));
  } catch (const YAML::Exception& error) {
    fail(ExitCode::kUsage, "{}:{}:{}: {} (the file is no YAML) mend it", what, error.mark.line + 1, error.mark.column + 1,
         error.msg);
  }
}

}  // namespace mpiquant
