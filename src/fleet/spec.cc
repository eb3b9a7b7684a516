#include "src/fleet/spec.h"

#include <fnmatch.h>

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/fleet/settings.h"
#include "src/plan/recipe_fields.h"
#include "src/plan/recipe_yaml.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxJobs = 10'000;

// Names become folders, job names and parts of them.
void check_name(const FleetFile& file, const YAML::Node& node, const std::string& where, const std::string& name) {
  const bool plain = !name.empty() && name.size() <= 64 && name.front() != '.' && name.front() != '-' &&
                     std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return (c < 128 && std::isalnum(c) != 0) || c == '.' || c == '_' || c == '-';
                     });
  check(plain, ExitCode::kUsage, "{} \"{}\" is no name (it becomes a folder) use letters, digits, dot, dash and underscore",
        yaml_place(file.path, node, where), name);
}

// "./x", "../x" and "/x" are directories; so is what is there beside the file; everything else is an id of the Hub.
std::string model_of(const FleetFile& file, const std::string& text) {
  const bool path = text.starts_with('/') || text.starts_with("./") || text.starts_with("../");
  return path || fs::is_directory(file.folder / text) ? absolute_path(file, text) : text;
}

struct Model {
  std::string family, size, model;
};

struct RecipeEntry {
  std::string name;
  YAML::Node node;
};

// An entry of include, exclude or overrides: whom it is about.
class Match {
 public:
  Match(const YamlFields& fields, const std::string& missing)
      : family_(fields.text("family").value_or(missing)),
        size_(fields.text("size").value_or(missing)),
        recipe_(fields.text("recipe").value_or(missing)) {}

  bool operator()(const Model& model, const std::string& recipe) const {
    return matches(family_, model.family) && matches(size_, model.size) && matches(recipe_, recipe);
  }

 private:
  static bool matches(const std::string& pattern, const std::string& name) {
    return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  }

  std::string family_, size_, recipe_;
};

std::vector<std::string> with(std::vector<std::string> keys, const std::vector<std::string>& more) {
  keys.insert(keys.end(), more.begin(), more.end());
  return keys;
}

class Expansion {
 public:
  Expansion(const FleetFile& file, const YamlFields& top) : file_(file), top_(top) {
    if (top.has("defaults"))
      apply_settings(file, YamlFields(file.path, top.at("defaults"), "defaults", settings_keys()), defaults_);
    read_models();
    read_recipes();
  }

  std::vector<FleetJob> jobs(const std::string& output) {
    std::vector<std::pair<Model, const RecipeEntry*>> pairs;
    for (const Model& model : models_)
      for (const RecipeEntry& recipe : recipes_)
        if (!excluded(model, recipe.name)) pairs.emplace_back(model, &recipe);
    for (auto& pair : included())
      if (std::none_of(pairs.begin(), pairs.end(), [&](const auto& other) {
            return other.first.family == pair.first.family && other.first.size == pair.first.size && other.second == pair.second;
          }))
        pairs.push_back(std::move(pair));
    check(!pairs.empty(), ExitCode::kUsage, "{} describes no job (everything is excluded)", file_.path);
    check(pairs.size() <= kMaxJobs, ExitCode::kUsage, "{} describes {} jobs (at most {} are kept track of) split it", file_.path,
          pairs.size(), kMaxJobs);
    std::vector<FleetJob> out;
    for (const auto& [model, recipe] : pairs) out.push_back(job(model, *recipe, output));
    check_distinct(out);
    check_patterns(out);
    return out;
  }

 private:
  void read_models() {
    if (!top_.has("families")) fail(ExitCode::kUsage, "{}: families is missing (there is no model to quantize)", file_.path);
    const YAML::Node families = top_.at("families");
    for (const std::string& family : yaml_keys(file_.path, families, "families")) {
      check_name(file_, families[family], "families:", family);
      const std::string where = "families." + family;
      for (const std::string& size : yaml_keys(file_.path, families[family], where)) {
        check_name(file_, families[family][size], where + ":", size);
        const auto models = yaml_texts(file_.path, families[family][size], where + "." + size);
        check(models.size() == 1, ExitCode::kUsage, "{} is not one model", yaml_place(file_.path, families[family][size], where));
        models_.push_back({family, size, model_of(file_, models.front())});
      }
    }
  }

  void read_recipes() {
    if (!top_.has("recipes")) fail(ExitCode::kUsage, "{}: recipes is missing (nothing says how to quantize)", file_.path);
    for (const std::string& name : yaml_keys(file_.path, top_.at("recipes"), "recipes")) {
      check_name(file_, top_.at("recipes")[name], "recipes:", name);
      recipes_.push_back({name, top_.at("recipes")[name]});
      // Read here as well, so that a recipe that no job uses is checked too.
      FleetSettings unused = defaults_;
      apply_recipe(recipes_.back(), unused);
    }
  }

  void apply_recipe(const RecipeEntry& recipe, FleetSettings& settings) const {
    if (recipe.node.IsNull()) return;
    apply_settings(file_, YamlFields(file_.path, recipe.node, "recipes." + recipe.name, settings_keys()), settings);
  }

  YAML::Node list(const std::string& key) const {
    const YAML::Node node = top_.at(key);
    check(!top_.has(key) || node.IsSequence(), ExitCode::kUsage, "{} is no list", yaml_place(file_.path, node, key));
    return top_.has(key) ? node : YAML::Node(YAML::NodeType::Sequence);
  }

  bool excluded(const Model& model, const std::string& recipe) const {
    for (const YAML::Node& entry : list("exclude")) {
      const YamlFields fields(file_.path, entry, "exclude", {"family", "size", "recipe"});
      if (Match(fields, "*")(model, recipe)) return true;
    }
    return false;
  }

  std::vector<std::pair<Model, const RecipeEntry*>> included() const {
    std::vector<std::pair<Model, const RecipeEntry*>> out;
    for (const YAML::Node& entry : list("include")) {
      const YamlFields fields(file_.path, entry, "include", {"family", "size", "recipe", "model"});
      for (const char* key : {"family", "size", "recipe"})
        check(fields.has(key), ExitCode::kUsage, "{} has no {} (an entry names one job)",
              yaml_place(file_.path, entry, "include"), key);
      Model model{*fields.text("family"), *fields.text("size"), ""};
      check_name(file_, entry, "include.family", model.family);
      check_name(file_, entry, "include.size", model.size);
      if (const auto path = fields.text("model")) {
        model.model = model_of(file_, *path);
      } else {
        const auto known = std::find_if(models_.begin(), models_.end(), [&](const Model& other) {
          return other.family == model.family && other.size == model.size;
        });
        check(known != models_.end(), ExitCode::kUsage, "{}: {} {} is not under families (so it needs a model) add model: PATH",
              yaml_place(file_.path, entry, "include"), model.family, model.size);
        model = *known;
      }
      std::vector<std::string> names;
      for (const RecipeEntry& recipe : recipes_) names.push_back(recipe.name);
      const std::string name = *fields.text("recipe");
      const auto recipe = std::find(names.begin(), names.end(), name);
      if (recipe == names.end())
        fields.refuse("recipe", fmt::format("is \"{}\", which is unknown {}", name, suggestion(name, names)));
      out.emplace_back(std::move(model), &recipes_[static_cast<std::size_t>(recipe - names.begin())]);
    }
    return out;
  }

  FleetJob job(const Model& model, const RecipeEntry& recipe, const std::string& output) const {
    FleetJob out{model.family,
                 model.size,
                 recipe.name,
                 model.model,
                 (fs::path(output) / (model.family + "-" + model.size) / recipe.name).string(),
                 defaults_};
    apply_recipe(recipe, out.settings);
    for (const YAML::Node& entry : list("overrides")) {
      const YamlFields fields(file_.path, entry, "overrides", with(settings_keys(), {"family", "size", "recipe"}));
      if (Match(fields, "*")(model, recipe.name)) apply_settings(file_, fields, out.settings);
    }
    check_choices_of(out);
    const FleetGates& gates = out.settings.gates;
    check(out.settings.evaluate || (!gates.max_kl && !gates.max_perplexity_rise), ExitCode::kUsage,
          "{}: {} has a gate on perplexity or KL divergence but no evaluation (nothing would be checked) add evaluate: {{text: "
          "FILE}}",
          file_.path, out.name());
    return out;
  }

  // What quantize would refuse is refused here, before anything is started.
  void check_choices_of(const FleetJob& job) const {
    try {
      RunChoices choices;
      if (!job.settings.config.empty()) choices = parse_recipe_yaml(read_text_file(job.settings.config), job.settings.config);
      for (const RecipeField& field : recipe_fields()) {
        const auto given = job.settings.options.find(std::string(field.option));
        if (given != job.settings.options.end()) field.set(choices, {"options." + given->first, given->second});
      }
      check_choices(choices);
    } catch (const Error& error) {
      fail(error.code(), "{}: the recipe of {}: {}", file_.path, job.name(), error.what());
    }
  }

  // A pattern that matches nothing is a misspelt one.
  void check_patterns(const std::vector<FleetJob>& jobs) const {
    for (const char* key : {"exclude", "overrides"})
      for (const YAML::Node& entry : list(key)) {
        const YamlFields fields(file_.path, entry, key, with(settings_keys(), {"family", "size", "recipe"}));
        const Match match(fields, "*");
        bool found = std::any_of(jobs.begin(), jobs.end(), [&](const FleetJob& job) {
          return match({job.family, job.size, ""}, job.recipe);
        });
        for (const Model& model : models_)
          for (const RecipeEntry& recipe : recipes_) found = found || match(model, recipe.name);
        check(found, ExitCode::kUsage, "{} matches no job (a family, size or recipe may be misspelt) correct or remove it",
              yaml_place(file_.path, entry, key));
      }
  }

  // "a-b" + "c" and "a" + "b-c" would share state and a job's name.
  void check_distinct(const std::vector<FleetJob>& jobs) const {
    std::map<std::string, const FleetJob*> seen;
    for (const FleetJob& job : jobs)
      check(seen.emplace(job.name(), &job).second, ExitCode::kUsage,
            "{}: two jobs are called {} (their state would mix) rename one", file_.path, job.name());
  }

  const FleetFile& file_;
  const YamlFields& top_;
  FleetSettings defaults_;
  std::vector<Model> models_;
  std::vector<RecipeEntry> recipes_;
};

}  // namespace

FleetSpec read_fleet(const std::string& file, const FleetCatalog& catalog) {
  const fs::path absolute = fs::absolute(file).lexically_normal();
  const FleetFile place{file, absolute.parent_path(), catalog};
  const YamlFields top(
      place.path, load_yaml(file), "",
      {"version", "name", "output", "state", "defaults", "families", "recipes", "include", "exclude", "overrides"});
  check(top.whole("version", 1, 1).has_value(), ExitCode::kUsage, "{}: version is missing (this is version 1) add version: 1",
        file);
  FleetSpec spec;
  spec.name = top.text("name").value_or(absolute.stem().string());
  const auto output = top.text("output");
  check(output.has_value(), ExitCode::kUsage, "{}: output is missing (the folder of all outputs) add output: DIR", file);
  spec.output = absolute_path(place, *output);
  spec.state = top.has("state") ? absolute_path(place, *top.text("state")) : (fs::path(spec.output) / "fleet-state").string();
  Expansion expansion(place, top);
  spec.jobs = expansion.jobs(spec.output);
  return spec;
}

}  // namespace mpiquant
