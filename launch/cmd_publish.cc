#include <chrono>
#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "launch/stop_signals.h"
#include "src/comm/collectives.h"
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
  PublishChoices choices{plain_path(text("path")),     text("repo"),     text("results"),
                         values["private"].as<bool>(), text("revision"), text("message")};
  for (const char* name : {"repo", "revision", "message"}) {
    check(values.count(name) == 0 || !text(name).empty(), ExitCode::kUsage,
          "--{} is empty (a variable that is not set?) give it, or leave it away", name);
    check(values.count(name) == 0 || values.count("repo") != 0, ExitCode::kUsage,
          "--{} without --repo (nothing is uploaded) give --repo ORG/NAME", name);
  }
  return choices;
}

// The outputs as the first rank sees them: on other nodes a shared file system may show them later.
std::vector<PublishedOutput> shared_outputs(Communicator& world, const PublishChoices& choices) {
  std::string text;
  collectively(world, [&] {
    if (world.rank() != 0) return;
    Json rows = Json::array();
    for (const PublishedOutput& output : outputs_to_publish(choices)) rows.push_back({output.folder, output.repository});
    text = rows.dump();
  });
  std::vector<PublishedOutput> outputs;
  for (const Json& row : Json::parse(broadcast_string(world, text, 0))) outputs.push_back({row[0], row[1]});
  return outputs;
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
  bool help = false, uploads = false;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"path"}, "publish");
    help = help_wanted(values, "publish", page, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    choices = choices_of(values);
    uploads = !choices.repository.empty() && !values["dry-run"].as<bool>();
    if (uploads && world.rank() == 0) check_can_upload();
  });
  if (help) return;
  const std::vector<PublishedOutput> outputs = shared_outputs(world, choices);
  const int threads = thread_count(values, world);
  const bool json = values["json"].as<bool>();
  Json rows = Json::array();
  std::size_t problems = 0;
  for (const PublishedOutput& output : outputs) {
    const Verification result = verify(world, {output.folder, std::nullopt, threads});
    problems += result.problems.size();
    rows.push_back(
        {{"output", output.folder}, {"repository", output.repository}, {"uploaded", false}, {"verification", to_json(result)}});
    if (world.rank() == 0 && !json) std::cout << output.folder << ":\n" << to_text(result) << std::flush;
  }
  watch_stop_signals();
  world.set_timeout(kLongestUpload);
  collectively(world, [&] {
    if (world.rank() != 0) return;
    std::optional<Error> failure;
    for (std::size_t o = 0; o < outputs.size() && problems == 0 && uploads && !failure; ++o) {
      failure = attempt([&] { upload(outputs[o], choices, stop_signal_came); });
      rows[o]["uploaded"] = !failure;
    }
    if (json)
      std::cout << Json{{"outputs", rows}}.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
    else if (problems == 0 && !choices.repository.empty())
      for (const Json& row : rows)
        if (!uploads || row["uploaded"])
          std::cout << fmt::format("{} {} {}\n", row["output"].get<std::string>(), uploads ? "went to" : "would go to",
                                   row["repository"].get<std::string>());
    if (failure) throw Error(*failure);
    check(problems == 0, ExitCode::kCorrupt,
          "{}: {} problem{}, listed above; nothing was uploaded (readers would fail) make the output again", choices.output,
          problems, problems == 1 ? "" : "s");
  });
}

}  // namespace mpiquant
