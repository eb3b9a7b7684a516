#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mpiquant {

// Command line options as name → values; a switch has the value "true" or "false".
using FleetOptions = std::map<std::string, std::vector<std::string>>;

struct OptionKind {
  bool is_switch = false;
  bool repeats = false;
};

// What a fleet file may name.
struct FleetCatalog {
  std::map<std::string, OptionKind> quantize_options;
  std::map<std::string, OptionKind> evaluate_options;
  std::vector<std::string> recipe_names;                                           // that come with the program
  std::function<std::optional<std::string>(const std::string& name)> recipe_file;  // path of one of them
};

// Limits that an output must keep; nothing: no limit.
struct FleetGates {
  std::optional<double> max_perplexity_rise;  // relative to the original model: 0.05 allows 5 %
  std::optional<double> max_kl;               // nats
  std::optional<std::int64_t> max_size;       // bytes of the output's folder
};

// How a job is run. Nothing here but options, config and evaluate decides bytes or figures.
struct FleetSettings {
  FleetOptions options;                  // of quantize
  std::string config;                    // recipe file, absolute; empty: none
  std::optional<FleetOptions> evaluate;  // options of evaluate; nothing: outputs are not evaluated
  FleetGates gates;
  std::map<std::string, std::string> slurm;  // options of sbatch
  int ranks = 1;                             // of a local run
  std::optional<int> threads;                // of a rank in a local run
  int retries = 2;
};

struct FleetJob {
  std::string family, size, recipe;
  std::string model;   // absolute directory or Hub id
  std::string output;  // absolute
  FleetSettings settings;

  std::string name() const { return family + "-" + size + "-" + recipe; }
};

struct FleetSpec {
  std::string name;
  std::string output;          // absolute: OUTPUT/FAMILY-SIZE/RECIPE
  std::string state;           // absolute
  std::vector<FleetJob> jobs;  // in the order of the table; names differ
};

// Reads a fleet file and expands its matrix. Paths in it are relative to its folder. Throws (usage error) naming file, line and
// key of what is wrong.
FleetSpec read_fleet(const std::string& file, const FleetCatalog& catalog);

}  // namespace mpiquant
