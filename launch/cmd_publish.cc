#include <chrono>
#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "src/base/log.h"
#include "src/fleet/publish.h"
#include "src/run/job.h"
#include "src/run/verify.h"

namespace mpiquant {
namespace {

// The other ranks wait for the first one, which uploads.
constexpr std::chrono::hours kLongestUpload{48};

PublishChoices choices_of(const options::variables_map& values) {
  check(values.count("path") != 0, ExitCode::kUsage, "OUTPUT is missing (see mpiquant publish --help)");
  const auto text = [&](const char* name) { return values.count(name) == 0 ? std::string() : values[name].as<std::string>(); };
  PublishChoices choices{text("path"),     text("repo"),   text("results"), values["private"].as<bool>(),
                         text("revision"), text("message")};
  if (choices.repository.empty())
    for (const char* name : {"revision", "message"})
      check(values.count(name) == 0, ExitCode::kUsage, "--{} without --repo (nothing is uploaded) give --repo ORG/NAME", name);
  return choices;
}

Json record_of(const PublishedOutput& output, const Verification& result, bool uploaded) {
  return {
      {"output", output.folder}, {"repository", output.repository}, {"uploaded", uploaded}, {"verification", to_json(result)}};
}

}  // namespace

CommandPage publish_page() {
  OptionGroup job{"Publication", {}};
  job.options.add_options()  //
      ("repo", hinted({.placeholder = "ORG/NAME", .choices = {}, .fallback = ""}),
       "repository of the Hugging Face Hub to upload to; several outputs go to ORG/NAME-FORMAT each; without it, outputs are "
       "only verified")                                                                                      //
      ("private", options::bool_switch(), "make new repositories private")                                   //
      ("revision", hinted({.placeholder = "BRANCH", .choices = {}, .fallback = ""}), "branch to upload to")  //
      ("message", hinted({.placeholder = "TEXT", .choices = {}, .fallback = ""}), "message of the commit")   //
      ("results", folder_value(),
       "folder of evaluations, FORMAT.json each (output.json of a single output): what has none is not published")  //
      ("dry-run", options::bool_switch(), "verify, and say what would be uploaded")                                 //
      ("json", options::bool_switch(), "print JSON");
  return {
      "mpiquant publish OUTPUT [OPTIONS]",
      "Verifies every output of a run, and uploads them to the Hugging Face Hub when a repository is named. Nothing is uploaded "
      "unless all are whole. Uploading is done by the hf command line (pip install huggingface_hub) with the token that `hf auth "
      "login` keeps, whose file must be readable by its owner alone; in batch jobs a token in HF_TOKEN is refused, as accounting "
      "may keep it. Under mpirun the ranks share the verification. Exit code 4: an output is corrupt; 6: there is none, an "
      "evaluation is missing, or the upload failed and can be repeated.",
      {job, common_group()},
      {{"see what would go where", "mpiquant publish OUT --repo ORG/NAME --dry-run"},
       {"upload to a private repository", "mpiquant publish OUT --repo ORG/NAME --private"}},
      {}};
}

void run_publish(CommandContext& context) {
  Communicator& world = context.world;
  const CommandPage page = publish_page();
  options::variables_map values;
  PublishChoices choices;
  std::vector<PublishedOutput> outputs;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"path"}, "publish");
    help = help_wanted(values, "publish", page, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    choices = choices_of(values);
    outputs = outputs_to_publish(choices);
    if (!choices.repository.empty() && world.rank() == 0) check_can_upload();
  });
  if (help) return;
  const int threads = thread_count(values, world);
  const bool json = values["json"].as<bool>(), uploads = !choices.repository.empty() && !values["dry-run"].as<bool>();
  std::vector<Verification> results;
  std::size_t problems = 0;
  for (const PublishedOutput& output : outputs) {
    results.push_back(verify(world, {output.folder, std::nullopt, threads}));
    problems += results.back().problems.size();
    if (world.rank() == 0 && !json) std::cout << output.folder << ":\n" << to_text(results.back()) << std::flush;
  }
  collectively(world, [&] {
    check(problems == 0, ExitCode::kCorrupt, "{}: {} problem{}; nothing was uploaded (readers would fail) make the output again",
          choices.output, problems, problems == 1 ? "" : "s");
  });
  world.set_timeout(kLongestUpload);
  collectively(world, [&] {
    if (world.rank() != 0) return;
    Json rows = Json::array();
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      if (uploads) upload(outputs[o], choices);
      rows.push_back(record_of(outputs[o], results[o], uploads));
      if (!json && !choices.repository.empty())
        std::cout << fmt::format("{} {} {}\n", outputs[o].folder, uploads ? "went to" : "would go to", outputs[o].repository)
                  << std::flush;
    }
    if (json) std::cout << Json{{"outputs", rows}}.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
  });
}

}  // namespace mpiquant
