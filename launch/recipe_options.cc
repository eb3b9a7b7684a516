#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "launch/arguments.h"
#include "launch/resources.h"
#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/plan/recipe_yaml.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr const char* kRecipeFolder = "configs/recipes";
constexpr const char* kSuffix = ".yaml";
constexpr std::int64_t kMaxRecipeBytes = 1 << 20;
// Fields of the top level that say what is written rather than how it is quantized.
constexpr std::string_view kFirstOutputField = "outputs";

OptionGroup section_group(const std::string& title, std::string_view section) {
  OptionGroup group{title, options::options_description(title)};
  for (const RecipeField& field : recipe_fields())
    if (field.section == section) add_field(group.options, field);
  return group;
}

// What the command line says about a field; nothing when it does not.
std::optional<FieldText> given(const options::variables_map& values, const RecipeField& field) {
  const std::string name(field.option);
  if (values.count(name) == 0) return std::nullopt;
  FieldText out{"--" + name, {}};
  switch (field.kind) {
    case FieldKind::kValue: out.texts = {values[name].as<std::string>()}; break;
    case FieldKind::kList: out.texts = values[name].as<Strings>(); break;
    case FieldKind::kSwitch:
      if (!values[name].as<bool>() && !values["no-" + name].as<bool>()) return std::nullopt;
      out.texts = {switch_value(values, name, false) ? "true" : "false"};
      break;
  }
  return out;
}

// --desc-act is how others call --act-order dynamic.
void apply_desc_act(const options::variables_map& values, RunChoices& choices) {
  if (values.count("desc-act") == 0 || !switch_value(values, "desc-act", false)) return;
  check(values.count("act-order") == 0 || choices.recipe.order == ActOrder::kDynamic, ExitCode::kUsage,
        "--desc-act with --act-order {} (--desc-act means dynamic) keep one", to_string(choices.recipe.order));
  choices.recipe.order = ActOrder::kDynamic;
}

}  // namespace

void add_field(options::options_description& group, const RecipeField& field) {
  const std::string name(field.option);
  std::string help(field.help);
  const std::string fallback = field.shown(RunChoices{});
  if (field.kind == FieldKind::kSwitch) {
    add_switch(group, name, fmt::format("{} (default: {})", help, fallback == "true" ? "yes" : "no"));
    return;
  }
  ValueHint hint{std::string(field.placeholder), field.choices == nullptr ? Strings{} : field.choices(), field.completion,
                 fallback};
  if (field.kind == FieldKind::kList) help += "; may be repeated";
  group.add_options()(name.c_str(), field.kind == FieldKind::kList ? hinted_list(std::move(hint)) : hinted(std::move(hint)),
                      help.c_str());
}

void add_config(options::options_description& group) {
  group.add_options()(
      "config,c", hinted({"FILE|NAME", recipe_names(), Completion::kFile, ""}),
      "recipe to begin with, a YAML file or one that comes with the program (docs/recipes.md); other options are on "
      "top of it");
}

std::vector<OptionGroup> recipe_groups() {
  std::vector<OptionGroup> groups;
  groups.push_back({"Recipe", options::options_description("Recipe")});
  add_config(groups.back().options);
  groups.push_back({"Quantization", options::options_description("Quantization")});
  for (const RecipeField& field : recipe_fields()) {
    if (!field.section.empty()) continue;
    if (field.key == kFirstOutputField) groups.push_back({"Output", options::options_description("Output")});
    add_field(groups.back().options, field);
    if (field.key == "act_order") add_switch(groups.back().options, "desc-act", "same as --act-order dynamic");
  }
  groups.push_back(section_group("Distribution", "distribution"));
  groups.push_back(section_group("Gates (exit code 5 when passed; -1: no limit)", "gates"));
  return groups;
}

OptionGroup calibration_group() { return section_group("Calibration", "calibration"); }

Strings recipe_names() {
  Strings names;
  if (const auto folder = find_resource(kRecipeFolder))
    for (const std::string& name : list_directory(folder->string()))
      if (name.ends_with(kSuffix)) names.push_back(name.substr(0, name.size() - std::string_view(kSuffix).size()));
  return names;
}

std::string recipe_path(const std::string& config) {
  const Strings names = recipe_names();
  if (std::find(names.begin(), names.end(), config) != names.end())
    return find_resource(fmt::format("{}/{}{}", kRecipeFolder, config, kSuffix)).value().string();
  check(path_kind(config) == PathKind::kFile, ExitCode::kUsage, "--config {} is neither a file nor a recipe of this program {}",
        config, suggestion(config, names));
  return config;
}

RunChoices read_choices(const options::variables_map& values) {
  RunChoices choices;
  if (values.count("config") != 0) {
    const std::string path = recipe_path(values["config"].as<std::string>());
    choices = parse_recipe_yaml(read_text_file(path, kMaxRecipeBytes), path);
  }
  // Text given here takes the place of the recipe's, whatever kind of source that is.
  if (values.count("calibration") + values.count("calibration-text") + values.count("calibration-ids") != 0) {
    choices.calibration.files.clear();
    choices.calibration.texts.clear();
    choices.calibration.ids.clear();
  }
  for (const RecipeField& field : recipe_fields())
    if (const auto text = given(values, field)) field.set(choices, *text);
  apply_desc_act(values, choices);
  check_choices(choices);
  return choices;
}

}  // namespace mpiquant
