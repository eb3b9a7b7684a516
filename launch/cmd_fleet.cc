#include <signal.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/resources.h"
#include "launch/setup.h"
#include "launch/stop_signals.h"
#include "launch/text_options.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/comm/launch_env.h"
#include "src/fleet/fleet.h"
#include "src/fleet/job_key.h"
#include "src/fleet/table.h"
#include "src/plan/recipe_fields.h"

namespace mpiquant {
namespace {

FleetCatalog make_catalog() {
  FleetCatalog catalog;
  for (const RecipeField& field : recipe_fields())
    if (!field.option.empty())
      catalog.quantize_options[std::string(field.option)] = {field.kind == FieldKind::kSwitch, field.kind == FieldKind::kList};
  const options::options_description windows = window_options();
  for (const auto& option : windows.options())
    catalog.evaluate_options[option->long_name()] = {false, option->long_name() == "text"};
  catalog.recipe_names = recipe_names();
  catalog.recipe_file = [](const std::string& name) -> std::optional<std::string> {
    const auto path = find_resource("configs/recipes/" + name + ".yaml");
    if (!path) return std::nullopt;
    return path->string();
  };
  return catalog;
}

FleetTools find_tools() {
  const auto script = find_resource("launch/fleet_job.sh");
  check(script.has_value(), ExitCode::kEnvironment,
        "launch/fleet_job.sh was not found beside the program (it runs the jobs) set MPIQUANT_HOME to the clone");
  return {script->parent_path().parent_path().string(), std::filesystem::read_symlink("/proc/self/exe").string()};
}

std::unique_ptr<FleetBackend> make_backend(const options::variables_map& values) {
  constexpr int kQueued = 1000;
  const std::string& name = values["backend"].as<std::string>();
  check(name == "local" || name == "slurm", ExitCode::kUsage, "--backend {} is unknown (known: local, slurm)", name);
  const int limit = values.count("jobs") != 0 ? values["jobs"].as<int>() : name == "local" ? 1 : kQueued;
  check(limit >= 1 && limit <= 100'000, ExitCode::kUsage, "--jobs {} (at least one job runs at once) give a number from 1",
        limit);
  return name == "local" ? make_local_backend(find_tools(), limit) : make_slurm_backend(find_tools(), limit);
}

void catch_signals() {
  watch_stop_signals();
  // At a terminal; jobs have process groups of their own and do not get it.
  struct sigaction action {};
  action.sa_handler = [](int) { ::raise(SIGTERM); };
  ::sigaction(SIGINT, &action, nullptr);
}

bool wait_or_stop(double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end && !stop_signal_came())
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  return stop_signal_came();
}

std::string shell_words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    const bool plain = !word.empty() && word.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                            "-_=./:,+%@") == std::string::npos;
    std::string quoted = word;
    for (std::size_t at = quoted.find('\''); !plain && at != std::string::npos; at = quoted.find('\'', at + 4))
      quoted.replace(at, 1, "'\\''");
    text += (text.empty() ? "" : " ") + (plain ? word : "'" + quoted + "'");
  }
  return text;
}

void print_plan(const FleetSpec& spec, const FleetBackend& backend) {
  const InputHashes hashes(spec.state + "/inputs", false);
  for (const FleetJobView& view : view_fleet(spec)) {
    const std::string key = job_key(view.job, hashes);
    const bool unchanged = view.record.key == key && view.record.state == JobState::kDone;
    std::cout << fmt::format("{}: {}\n", view.job.name(), unchanged ? "done and unchanged, skipped" : "to be run");
    FleetRecord next = view.record;
    next.key = key;
    next.attempts = view.record.key == key ? view.record.attempts + 1 : 1;
    if (unchanged) continue;
    for (const auto& words : backend.commands(attempt_of(spec, view.job, next))) std::cout << "  " << shell_words(words) << "\n";
  }
}

void print_status(const FleetSpec& spec, bool json) {
  const std::vector<FleetJobView> views = view_fleet(spec);
  const std::vector<FleetRow> rows = fleet_rows(views);
  std::cout << (json ? fleet_json(spec, rows).dump(1) + "\n" : fleet_markdown(spec, rows)) << std::flush;
}

}  // namespace

CommandPage fleet_page() {
  OptionGroup job{"Fleet", {}};
  job.options.add_options()                                                                                               //
      ("backend", options::value<std::string>()->default_value("local"), "local: here, with mpirun; slurm: with sbatch")  //
      ("jobs", options::value<int>(), "jobs at once (default: 1 here; under Slurm 1000 in the queue)")                    //
      ("state", folder_value(), "folder of state and tables (default: what the file says, else OUTPUT/fleet-state)")      //
      ("retry", options::bool_switch(), "give jobs that failed for good new attempts")                                    //
      ("status", options::bool_switch(), "print the table as it stands and start nothing")                                //
      ("json", options::bool_switch(), "print it as JSON")                                                                //
      ("dry-run", options::bool_switch(), "print the jobs and their commands and start nothing");
  return {"mpiquant fleet FLEET.yaml [OPTIONS]",
          "Quantizes and evaluates families of models with several recipes, each as a job of its own, here or under Slurm, and "
          "keeps a table of all of them: STATE/table.html, table.md and table.json. docs/howto-fleet.md describes the file.\n\n"
          "Jobs that are done and unchanged are skipped, jobs whose environment failed are tried again. Started again after any "
          "end it goes on where it was; several may be started, on several machines, and share the jobs. Started without mpirun.",
          {job, common_group()},
          {{"a night on this machine", "mpiquant fleet nightly.yaml"},
           {"on a cluster", "mpiquant fleet nightly.yaml --backend slurm"},
           {"how far it is", "mpiquant fleet nightly.yaml --status"}},
          {}};
}

void run_fleet(CommandContext& context) {
  ExitCode end = ExitCode::kDone;
  collectively(context.world, [&] {
    const CommandPage page = fleet_page();
    const options::variables_map values = parse(context.arguments, page.all(), {"fleet"}, "fleet");
    if (help_wanted(values, "fleet", page, context.world.rank())) return;
    apply_common(values, context.world.rank());
    check(!launched_in_job(process_env), ExitCode::kUsage,
          "fleet was started by mpirun or srun (it is one process, which starts the ranks of its jobs itself) start it without");
    check(values.count("fleet") != 0, ExitCode::kUsage, "FLEET.yaml is missing (see mpiquant fleet --help)");
    FleetSpec spec = read_fleet(values["fleet"].as<std::string>(), make_catalog());
    if (values.count("state") != 0) spec.state = std::filesystem::absolute(values["state"].as<std::string>()).lexically_normal();
    const std::unique_ptr<FleetBackend> backend = make_backend(values);
    if (values["status"].as<bool>()) return print_status(spec, values["json"].as<bool>());
    if (values["dry-run"].as<bool>()) return print_plan(spec, *backend);
    catch_signals();
    end = run_fleet(FleetRequest{spec, *backend, values["retry"].as<bool>(), &wait_or_stop});
    print_status(spec, values["json"].as<bool>());
    info_line("the table is in {}/table.html, table.md and table.json", spec.state);
    check(end != ExitCode::kStopped, end, "the fleet was told to end (jobs are not finished) start it again to go on");
    check(end != ExitCode::kGate, end, "outputs fail their gates (they are in the table)");
    check(end == ExitCode::kDone, end,
          "jobs failed (they are in the table) correct what their logs say, then start the fleet again; "
          "--retry gives failed jobs new attempts");
  });
}

}  // namespace mpiquant
