#pragma once

#include <functional>
#include <string>
#include <vector>

namespace mpiquant {

struct PublishChoices {
  std::string output;      // folder of a run's output, or of several
  std::string repository;  // of the Hugging Face Hub, as org/name; empty: nothing is uploaded
  std::string results;     // folder where each output must have an evaluation, as NAME.json; may be empty
  bool is_private = false;
  std::string revision;  // branch; empty: the repository's default
  std::string message;   // of the commit; empty: the one of `hf`
};

struct PublishedOutput {
  std::string folder;
  std::string repository;
};

// The outputs that are there, and where each goes: one to org/name itself, several to org/name-LABEL. Throws a usage error when
// the repository is no org/name, an environment error when nothing is there or an evaluation is missing: the step before this one
// failed.
std::vector<PublishedOutput> outputs_to_publish(const PublishChoices& choices);

// Throws (usage error) what is in the way of an upload: no `hf`, no token, a token that others can read, or one in the
// environment of a batch job, where accounting may keep it.
void check_can_upload();

// Uploads an output by `hf`, which says what it does on standard error and is ended when a stop is wanted. Throws (environment
// error, stopped) when it was not uploaded.
void upload(const PublishedOutput& output, const PublishChoices& choices, const std::function<bool()>& stop_wanted);

}  // namespace mpiquant
