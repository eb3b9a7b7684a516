#include "src/fleet/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {
namespace {

// Options whose values are files.
constexpr std::array<std::string_view, 7> kFileOptions = {"calibration", "calibration-ids", "token-store", "text",
                                                          "ids",         "tokenizer",       "topology"};
// Options of sbatch that a fleet file may set; the fleet sets the others itself.
const std::vector<std::string>& sbatch_options() {
  static const std::vector<std::string> names = {
      "account", "constraint",  "cpus-per-task", "exclude", "gpu-bind", "gpus-per-node",   "gres",
      "mem",     "mem-per-cpu", "nodelist",      "nodes",   "ntasks",   "ntasks-per-node", "partition",
      "qos",     "reservation", "time",          "wckey"};
  return names;
}

template <typename Map>
std::vector<std::string> names_of(const Map& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

void read_options(const FleetFile& file, const YAML::Node& node, const std::string& where,
                  const std::map<std::string, OptionKind>& known, FleetOptions& options) {
  for (const std::string& name : yaml_keys(file.path, node, where)) {
    const std::string place = yaml_place(file.path, node[name], where + "." + name);
    const auto kind = known.find(name);
    check(kind != known.end(), ExitCode::kUsage, "{} is no option that can be set here {}", place,
          suggestion(name, names_of(known)));
    std::vector<std::string> values = yaml_texts(file.path, node[name], where + "." + name);
    if (kind->second.is_switch)
      check(values.size() == 1 && (values.front() == "true" || values.front() == "false"), ExitCode::kUsage,
            "{} is a switch (give true or false)", place);
    check(!values.empty() && (values.size() == 1 || kind->second.repeats), ExitCode::kUsage,
          "{} takes one value and has {} (the option is not repeated)", place, values.size());
    for (std::string& value : values) {
      check(value.find_first_of(std::string_view("\n\0", 2)) == std::string::npos, ExitCode::kUsage,
            "{} has more than one line (it becomes an argument of a command)", place);
      if (std::find(kFileOptions.begin(), kFileOptions.end(), name) != kFileOptions.end()) value = absolute_path(file, value);
    }
    options[name] = std::move(values);
  }
}

void check_count(const YamlFields& fields, const std::string& name, const std::string& value) {
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), count);
  if (error != std::errc() || end != value.data() + value.size() || count < 1)
    fields.refuse("evaluate", fmt::format("has {}: {} (nothing would be scored; give a whole number from 1 on)", name, value));
}

std::string config_path(const FleetFile& file, const YamlFields& fields, const std::string& name) {
  if (name.find('/') == std::string::npos && !name.ends_with(".yaml") && !name.ends_with(".yml")) {
    if (const auto known = file.catalog.recipe_file(name)) return *known;
    fields.refuse("config", fmt::format("is \"{}\", which is no recipe of this program {}", name,
                                        suggestion(name, file.catalog.recipe_names)));
  }
  const std::string path = absolute_path(file, name);
  if (path_kind(path) != PathKind::kFile) fields.refuse("config", fmt::format("is {}, which is not there", path));
  return path;
}

void read_gates(const FleetFile& file, const YamlFields& fields, FleetGates& gates) {
  const YamlFields limits(file.path, fields.at("gates"), fields.where("gates"), {"max_perplexity_rise", "max_kl", "max_size"});
  if (const auto rise = limits.fraction("max_perplexity_rise")) gates.max_perplexity_rise = rise;
  if (const auto kl = limits.fraction("max_kl")) gates.max_kl = kl;
  if (const auto text = limits.text("max_size")) {
    const std::size_t digits = text->find_first_not_of("0123456789");
    const std::string number = text->substr(0, digits);
    const std::string unit = digits == std::string::npos ? "" : text->substr(digits);
    const std::map<std::string, std::int64_t> units = {{"", 1}, {"KB", 1'000}, {"MB", 1'000'000}, {"GB", 1'000'000'000}};
    if (number.empty() || number.size() > 9 || units.count(unit) == 0)
      limits.refuse("max_size", fmt::format("is \"{}\" (give bytes, or a whole number with KB, MB or GB)", *text));
    gates.max_size = std::stoll(number) * units.at(unit);
  }
}

}  // namespace

std::vector<std::string> settings_keys() {
  return {"options", "config", "evaluate", "gates", "slurm", "ranks", "threads", "retries"};
}

std::string absolute_path(const FleetFile& file, const std::string& path) {
  if (path.starts_with("hf:")) return path;
  return (file.folder / path).lexically_normal().string();
}

void apply_settings(const FleetFile& file, const YamlFields& fields, FleetSettings& settings) {
  if (fields.has("options"))
    read_options(file, fields.at("options"), fields.where("options"), file.catalog.quantize_options, settings.options);
  if (const auto name = fields.text("config")) settings.config = config_path(file, fields, *name);
  if (fields.has("evaluate")) {
    const YAML::Node node = fields.at("evaluate");
    if (node.IsScalar()) {
      if (node.Scalar() != "false") fields.refuse("evaluate", "takes false or the options of an evaluation (as in text: FILE)");
      settings.evaluate.reset();
    } else {
      FleetOptions options = settings.evaluate.value_or(FleetOptions());
      read_options(file, node, fields.where("evaluate"), file.catalog.evaluate_options, options);
      if ((options.count("text") != 0) == (options.count("ids") != 0))
        fields.refuse("evaluate", "needs either text or ids (what is scored comes from one of them)");
      for (const std::string name : {"window", "max-windows"})
        if (const auto given = options.find(name); given != options.end()) check_count(fields, name, given->second.front());
      settings.evaluate = std::move(options);
    }
  }
  if (fields.has("gates")) read_gates(file, fields, settings.gates);
  if (fields.has("slurm")) {
    const YamlFields slurm(file.path, fields.at("slurm"), fields.where("slurm"), sbatch_options());
    for (const std::string& name : yaml_keys(file.path, fields.at("slurm"), fields.where("slurm")))
      settings.slurm[name] = slurm.text(name).value_or("");
  }
  if (const auto ranks = fields.whole("ranks", 1, 99999)) settings.ranks = static_cast<int>(*ranks);
  if (const auto threads = fields.whole("threads", 1, 4096)) settings.threads = static_cast<int>(*threads);
  if (const auto retries = fields.whole("retries", 0, 100)) settings.retries = static_cast<int>(*retries);
}

}  // namespace mpiquant
