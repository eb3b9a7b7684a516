#include "src/fleet/backend.h"

namespace mpiquant {
namespace {

// Always --name=value, so that no value is taken for an option.
void append(std::vector<std::string>& words, const FleetOptions& options) {
  for (const auto& [name, values] : options) {
    for (const std::string& value : values) {
      if (value == "true" || value == "false")
        words.push_back((value == "true" ? "--" : "--no-") + name);
      else
        words.push_back("--" + name + "=" + value);
    }
  }
}

}  // namespace

std::vector<std::string> quantize_arguments(const Attempt& attempt) {
  const FleetJob& job = attempt.job;
  std::vector<std::string> words = {"quantize", job.model};
  if (!job.settings.config.empty()) words.push_back("--config=" + job.settings.config);
  append(words, job.settings.options);
  words.insert(words.end(), {"--output=" + job.output, "--work-dir=" + attempt.folder + "/work"});
  // Not always: it would also break the lease of a run that is alive.
  if (attempt.replace) words.emplace_back("--force");
  return words;
}

std::vector<std::string> evaluate_arguments(const FleetJob& job) {
  std::vector<std::string> words = {"evaluate", "--reference=" + job.model};
  append(words, job.settings.evaluate.value_or(FleetOptions()));
  return words;
}

}  // namespace mpiquant
