#include "src/fleet/publish.h"

#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "io/file.h"
#include "io/hf_cache.h"
#include "src/base/error.h"
#include "src/fleet/outcome.h"
#include "src/fleet/process.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

// Batch systems whose accounting may keep the environment of a submission.
bool in_batch_job() { return is_set("SLURM_JOB_ID") || is_set("PBS_JOBID") || is_set("LSB_JOBID"); }

void check_token_file(const std::string& path) {
  check(path_kind(path) == PathKind::kFile, ExitCode::kUsage,
        "{} is not there (uploading needs the token of an account) make it with: hf auth login", path);
  constexpr fs::perms kOthers = fs::perms::group_all | fs::perms::others_all;
  check((fs::status(path).permissions() & kOthers) == fs::perms::none, ExitCode::kUsage,
        "{} can be read by others (they could write to your repositories) chmod 600 it, and make a new token", path);
}

}  // namespace

std::vector<PublishedOutput> outputs_to_publish(const PublishChoices& choices) {
  check(choices.repository.empty() || is_hub_id(choices.repository), ExitCode::kUsage,
        "\"{}\" is no repository (outputs go to org/name) give --repo ORG/NAME", choices.repository);
  check(path_kind(choices.output) == PathKind::kDirectory, ExitCode::kEnvironment,
        "{} is no folder (the run that should write it has not ended well) see its log", choices.output);
  const auto folders = output_folders(choices.output);
  check(!folders.empty(), ExitCode::kEnvironment,
        "{} holds no whole output (the run that should write it has not ended well) see its log", choices.output);
  std::vector<PublishedOutput> outputs;
  for (const auto& [folder, result] : folders) {
    const std::string evaluation = choices.results + "/" + result + ".json";
    check(choices.results.empty() || (path_kind(evaluation) == PathKind::kFile && fs::file_size(evaluation) > 0),
          ExitCode::kEnvironment, "{} is not there (what could not be evaluated is not published) see the evaluation's log",
          evaluation);
    const std::string label = folders.size() == 1 || choices.repository.empty() ? "" : "-" + result;
    outputs.push_back({folder, choices.repository + label});
  }
  return outputs;
}

void check_can_upload() {
  check(is_in_path("hf"), ExitCode::kUsage,
        "the hf command line was not found (it does the uploading) pip install huggingface_hub");
  if (!is_set("HF_TOKEN")) return check_token_file(hf_token_file());
  check(!in_batch_job(), ExitCode::kUsage,
        "HF_TOKEN is set in a batch job (accounting may keep the environment of a submission) use the file that hf auth login "
        "makes, and unset it");
}

std::vector<std::string> upload_command(const PublishedOutput& output, const PublishChoices& choices) {
  std::vector<std::string> words{"hf", "upload", output.repository, output.folder, ".", "--repo-type", "model"};
  if (choices.is_private) words.emplace_back("--private");
  if (!choices.revision.empty()) words.insert(words.end(), {"--revision", choices.revision});
  if (!choices.message.empty()) words.insert(words.end(), {"--commit-message", choices.message});
  return words;
}

void upload(const PublishedOutput& output, const PublishChoices& choices) {
  // Jobs often forbid the network to the libraries that read models.
  const int code = run_shown(upload_command(output, choices), environment_without({"HF_HUB_OFFLINE"}));
  check(code == 0, ExitCode::kEnvironment,
        "the upload of {} to {} failed with code {} (see what hf says above) run the same command again: what is there is not "
        "sent twice",
        output.folder, output.repository, code);
}

}  // namespace mpiquant
