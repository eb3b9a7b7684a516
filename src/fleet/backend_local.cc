#include <signal.h>

#include "src/base/error.h"
#include "src/fleet/backend.h"
#include "src/fleet/process.h"

namespace mpiquant {
namespace {

using Words = std::vector<std::string>;

ProcessId process_of(const Json& handle) {
  return {static_cast<pid_t>(handle.at("pid").get<std::int64_t>()), handle.at("start").get<std::uint64_t>()};
}

// launch/fleet_job.sh with launch/local.sh, in process groups of their own.
class LocalBackend final : public FleetBackend {
 public:
  LocalBackend(FleetTools tools, int limit) : tools_(std::move(tools)), limit_(limit) {}

  int limit() const override { return limit_; }
  double poll_seconds() const override { return 0.5; }

  std::vector<Words> commands(const Attempt& attempt) const override {
    std::vector<Words> out = {local(attempt.job, quantize_arguments(attempt))};
    if (attempt.job.settings.evaluate) {
      Words words = {tools_.home + "/launch/evaluate_outputs.sh", attempt.folder + "/results", attempt.job.output};
      const Words evaluate = local(attempt.job, evaluate_arguments(attempt.job));
      words.insert(words.end(), evaluate.begin(), evaluate.end());
      out.push_back(std::move(words));
    }
    return out;
  }

  void start(const Attempt& attempt, const std::function<void(const Json&)>& note) override {
    const std::vector<Words> steps = commands(attempt);
    Words words = {tools_.home + "/launch/fleet_job.sh", attempt.folder, std::to_string(attempt.number),
                   std::to_string(steps.front().size())};
    for (const Words& step : steps) words.insert(words.end(), step.begin(), step.end());
    HeldProcess process(words, job_environment({{"MPIQUANT_BIN", tools_.program}, {"MPIQUANT_HOME", tools_.home}}),
                        attempt.log("quantize"));
    note({{"host", host_name()}, {"pid", process.id().pid}, {"start", process.id().start}});
    process.go();
  }

  // An attempt whose process was not written down has not begun.
  Json find(const Attempt& /*attempt*/) override { return {}; }

  bool active(const Json& handle) override {
    // Of another host nothing can be seen. Its lease was taken over, so the host was silent for long.
    return !handle.empty() && handle.at("host") == host_name() && alive(process_of(handle));
  }

  Fate fate(const Json& handle) override {
    if (handle.empty()) return {ExitCode::kEnvironment, "the process is gone and left no exit code", false, false};
    return {ExitCode::kEnvironment,
            fmt::format("process {} on {} is gone and left no exit code", handle.at("pid").get<std::int64_t>(),
                        handle.at("host").get<std::string>()),
            false, false};
  }

  bool stop(const Json& handle) override {
    ::kill(process_of(handle).pid, SIGTERM);
    return true;
  }

 private:
  Words local(const FleetJob& job, const Words& arguments) const {
    Words words = {tools_.home + "/launch/local.sh", "--ranks", std::to_string(job.settings.ranks)};
    if (job.settings.threads) words.insert(words.end(), {"--threads", std::to_string(*job.settings.threads)});
    // Each mpirun would bind its first rank to the first core.
    if (limit_ > 1) words.insert(words.end(), {"--bind", "none"});
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }

  FleetTools tools_;
  int limit_;
};

}  // namespace

std::unique_ptr<FleetBackend> make_local_backend(FleetTools tools, int limit) {
  return std::make_unique<LocalBackend>(std::move(tools), limit);
}

}  // namespace mpiquant
