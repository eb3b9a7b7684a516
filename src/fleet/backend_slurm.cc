#include <unistd.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "io/shared_file.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/fleet/backend.h"
#include "src/fleet/process.h"

namespace mpiquant {
namespace {

using Words = std::vector<std::string>;

constexpr double kPollSeconds = 5;

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// The value of NAME=VALUE in a line of scontrol.
std::string field(const std::string& line, const std::string& name) {
  const std::size_t at = line.find(name + "=");
  if (at == std::string::npos) return "";
  const std::size_t begin = at + name.size() + 1;
  return line.substr(begin, line.find_first_of(" \n", begin) - begin);
}

// slurm/quantize.sbatch, and slurm/evaluate.sbatch after it. A job that can be resumed goes back into the queue by itself; this
// class submits and looks.
class SlurmBackend final : public FleetBackend {
 public:
  SlurmBackend(FleetTools tools, int limit) : tools_(std::move(tools)), limit_(limit) {}

  int limit() const override { return limit_; }
  double poll_seconds() const override { return kPollSeconds; }

  std::vector<Words> commands(const Attempt& attempt) const override {
    Words quantize = batch(attempt, "quantize");
    const Words arguments = quantize_arguments(attempt);
    quantize.insert(quantize.end(), arguments.begin() + 1, arguments.end());
    if (!attempt.job.settings.evaluate) return {quantize};
    Words evaluate = batch(attempt, "evaluate");
    evaluate.insert(evaluate.end(), {attempt.folder + "/results", attempt.job.output});
    const Words more = evaluate_arguments(attempt.job);
    evaluate.insert(evaluate.end(), more.begin() + 1, more.end());
    return {quantize, evaluate};
  }

  void start(const Attempt& attempt, const std::function<void(const Json&)>& note) override {
    std::vector<Words> steps = commands(attempt);
    const Words environment = outside_jobs({{"MPIQUANT_BIN", tools_.program},
                                            {"MPIQUANT_HOME", tools_.home},
                                            {"MPIQUANT_RECORD", attempt.folder},
                                            {"MPIQUANT_MAX_RESTARTS", std::to_string(attempt.job.settings.retries)}});
    Json handle = {{"jobs", Json::array()}, {"complete", steps.size() == 1}};
    if (!attempt.quantized) {
      handle["jobs"].push_back(submit(steps.front(), environment));
      note(handle);
    }
    if (steps.size() == 1) return;
    // After any end: a job that failed and was requeued would never satisfy afterok. The script looks for the output.
    if (!attempt.quantized)
      steps[1].insert(steps[1].begin() + 1, "--dependency=afterany:" + handle["jobs"].front().get<std::string>());
    handle["jobs"].push_back(submit(steps[1], environment));
    handle["complete"] = true;
    note(handle);
  }

  Json find(const Attempt& attempt) override {
    Json jobs = Json::array();
    const CommandResult result =
        run_command({"squeue", "--noheader", "--name=" + job_name(attempt, "quantize") + "," + job_name(attempt, "evaluate"),
                     "--format=%i %k"},
                    outside_jobs({}));
    check(result.code == 0, ExitCode::kEnvironment, "squeue failed: {} (jobs of an earlier start may be in the queue)",
          first_line(result.errors));
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);)
      if (line.ends_with(" " + attempt.tag)) jobs.push_back(line.substr(0, line.find(' ')));
    if (jobs.empty()) return {};
    return {{"jobs", jobs}, {"complete", jobs.size() == commands(attempt).size()}};
  }

  bool active(const Json& handle) override {
    if (handle.is_null()) return false;
    look();
    // Unknown counts as active: the controller may be restarting.
    return !known_ || std::any_of(handle.at("jobs").begin(), handle.at("jobs").end(),
                                  [&](const Json& id) { return queue_.count(id.get<std::string>()) != 0; });
  }

  Fate fate(const Json& handle) override {
    if (handle.is_null()) return {ExitCode::kEnvironment, "the jobs left the queue without an exit code", false, true};
    for (const Json& id : handle.at("jobs")) {
      const std::string state = state_of(id.get<std::string>());
      if (state == "COMPLETED" || state.empty()) continue;
      const std::string text = fmt::format("Slurm says of job {}: {}", id.get<std::string>(), state);
      // A person's decision is not undone by trying again.
      if (state.starts_with("CANCELLED")) return {ExitCode::kStopped, text, true, false};
      return {ExitCode::kEnvironment, text, false, false};
    }
    return {ExitCode::kEnvironment, fmt::format("the jobs {} left the queue without an exit code", handle.at("jobs").dump()),
            false, !handle.at("complete").get<bool>()};
  }

  // Jobs in the queue need no fleet process.
  bool stop(const Json& /*handle*/) override { return false; }

 private:
  static std::string job_name(const Attempt& attempt, const std::string& step) { return "mq-" + attempt.job.name() + "-" + step; }

  // Without what describes a job in which the fleet itself may run; sbatch would take it over.
  static Words outside_jobs(const std::map<std::string, std::string>& more) {
    Words out = job_environment(more);
    std::erase_if(out, [](const std::string& entry) { return entry.starts_with("SLURM_") && !entry.starts_with("SLURM_CONF="); });
    return out;
  }

  Words batch(const Attempt& attempt, const std::string& step) const {
    Words words = {"sbatch",
                   "--parsable",
                   "--job-name=" + job_name(attempt, step),
                   "--comment=" + attempt.tag,
                   "--output=" + attempt.log(step),
                   "--kill-on-invalid-dep=yes"};
    for (const auto& [name, value] : attempt.job.settings.slurm) words.push_back("--" + name + "=" + value);
    words.push_back(tools_.home + "/slurm/" + step + ".sbatch");
    return words;
  }

  std::string submit(const Words& command, const Words& environment) {
    const CommandResult result = run_command(command, environment);
    check(result.code == 0, ExitCode::kUsage, "sbatch refused the job: {}", first_line(result.errors));
    // "ID" or "ID;CLUSTER"
    const std::string id = result.output.substr(0, result.output.find_first_of(";\n"));
    check(!id.empty() && id.find_first_not_of("0123456789") == std::string::npos, ExitCode::kEnvironment,
          "sbatch printed \"{}\" and no job number", first_line(result.output));
    queue_.insert(id);
    return id;
  }

  // The user's jobs in the queue, asked for once in a while.
  void look() {
    if (now_seconds() - looked_ < kPollSeconds / 2) return;
    looked_ = now_seconds();
    const CommandResult result =
        run_command({"squeue", "--noheader", "--user=" + std::to_string(::getuid()), "--format=%A"}, outside_jobs({}));
    known_ = result.code == 0;
    if (!known_) {
      warn_line("squeue failed: {}; trying again", first_line(result.errors));
      return;
    }
    queue_.clear();
    std::istringstream lines(result.output);
    for (std::string line; std::getline(lines, line);) queue_.insert(line);
  }

  // Of a job that has left the queue: from accounting, else from the controller's memory of the last minutes.
  static std::string state_of(const std::string& id) {
    const CommandResult accounting =
        run_command({"sacct", "--noheader", "--allocations", "--parsable2", "--jobs=" + id, "--format=State"}, outside_jobs({}));
    if (accounting.code == 0 && !accounting.output.empty()) return first_line(accounting.output);
    const CommandResult control = run_command({"scontrol", "show", "job", "-o", id}, outside_jobs({}));
    return control.code == 0 ? field(control.output, "JobState") : "";
  }

  FleetTools tools_;
  int limit_;
  double looked_ = 0;
  bool known_ = false;
  std::set<std::string> queue_;
};

}  // namespace

std::unique_ptr<FleetBackend> make_slurm_backend(FleetTools tools, int limit) {
  return std::make_unique<SlurmBackend>(std::move(tools), limit);
}

}  // namespace mpiquant
