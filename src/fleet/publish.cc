#include "src/fleet/publish.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include "io/file.h"
#include "io/hf_cache.h"
#include "src/base/environment.h"
#include "src/base/error.h"
#include "src/fleet/outcome.h"
#include "src/fleet/process.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// Batch systems whose accounting may keep the environment of a submission.
bool in_batch_job() {
  return std::ranges::any_of(std::array{"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"},
                             [](const char* name) { return !environment(name).empty(); });
}

void check_token_file(const std::string& path) {
  check(path_kind(path) == PathKind::kFile, ExitCode::kUsage,
        "{} is not there (uploading needs the token of an account) make it with: hf auth login", path);
  constexpr fs::perms kOthers = fs::perms::group_all | fs::perms::others_all;
  check((fs::status(path).permissions() & kOthers) == fs::perms::none, ExitCode::kUsage,
        "{} can be read by others (they could write to your repositories) chmod 600 it, and make a new token", path);
}

// The words of the `hf` command line that upload an output.
std::vector<std::string> upload_command(const PublishedOutput& output, const PublishChoices& choices) {
  std::vector<std::string> words{"hf", "upload", output.repository, output.folder, ".", "--repo-type", "model"};
  if (choices.is_private) words.emplace_back("--private");
  if (!choices.revision.empty()) words.insert(words.end(), {"--revision", choices.revision});
  if (!choices.message.empty()) words.insert(words.end(), {"--commit-message", choices.message});
  return words;
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
  const char* given = nullptr;  // hf takes a token from there before it looks for the file
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (!environment(name).empty()) given = name;
  if (given == nullptr) return check_token_file(hf_token_file());
  check(!in_batch_job(), ExitCode::kUsage,
        "{} is set in a batch job (accounting may keep the environment of a submission) use the file that hf auth login "
        "makes, and unset it",
        given);
}

void upload(const PublishedOutput& output, const PublishChoices& choices, const std::function<bool()>& stop_wanted) {
  // Jobs often forbid the network to the libraries that read models.
  const auto variables = environment_without({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"});
  const int code = run_shown(upload_command(output, choices), variables, stop_wanted);
  if (code == 0) return;
  check(!stop_wanted(), ExitCode::kStopped, "stopped while {} went to {} (it is not whole there) run the same command again",
        output.folder, output.repository);
  fail(ExitCode::kEnvironment,
       "the upload of {} to {} failed with code {} (see what hf says above) run the same command again: what is there is not "
       "sent twice",
       output.folder, output.repository, code);
}

}  // namespace mpiquant
