#include <array>

#include "launch/command.h"
#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {
namespace {

constexpr auto kCommands = std::to_array<Command>({
    {"quantize", "quantize a model and write repositories and GGUF files", &run_quantize, &quantize_page},
    {"plan", "who would do what, memory, bytes and seconds, on this machine or another", &run_plan, &plan_page},
    {"calibrate", "tokenize calibration text once, into a store that quantize re-uses", &run_calibrate, &calibrate_page},
    {"evaluate", "perplexity of a model or output, and its distance from a reference", &run_evaluate, &evaluate_page},
    {"inspect", "what a repository or GGUF file holds: types, bits, metadata, errors by layer", &run_inspect, &inspect_page},
    {"verify", "check an output: sums, headers, shapes, every tensor decodes; --against the original", &run_verify, &verify_page},
    {"report", "print a run's report.json as tables, write it as a page with plots", &run_report, &report_page},
    {"fleet", "quantize and evaluate families of models, one job each, and keep a table", &run_fleet, &fleet_page},
    {"publish", "verify the outputs of a run, and upload them to the Hugging Face Hub", &run_publish, &publish_page},
    {"list", "what there is: methods, codecs, formats, architectures, recipes", &run_list, &list_page},
    {"completion", "print a script that completes commands and options in bash, zsh or fish", &run_completion, &completion_page},
    {"man", "print the manual page", &run_man, &man_page},
});

}  // namespace

std::span<const Command> commands() { return kCommands; }

const Command& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (command.name == name) return command;
    names.emplace_back(command.name);
  }
  const std::string near = nearest(name, names);
  fail(ExitCode::kUsage, "\"{}\" is no command{} (see mpiquant --help)", name,
       near.empty() ? "" : fmt::format(", did you mean \"{}\"?", near));
}

}  // namespace mpiquant
