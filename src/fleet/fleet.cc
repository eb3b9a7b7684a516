#include "src/fleet/fleet.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "io/file.h"
#include "io/lease.h"
#include "io/shared_file.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/fleet/job_key.h"
#include "src/fleet/outcome.h"
#include "src/fleet/table.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

bool final_state(JobState state) { return state == JobState::kDone || state == JobState::kFailed; }
bool can_be_retried(int code) {
  return code == static_cast<int>(ExitCode::kEnvironment) || code == static_cast<int>(ExitCode::kStopped);
}

class FleetLoop {
 public:
  explicit FleetLoop(const FleetRequest& request) : request_(request), spec_(request.spec), started_(now_seconds()) {}

  ExitCode run() {
    const InputHashes hashes(spec_.state + "/inputs");
    for (const FleetJob& job : spec_.jobs) keys_.push_back(job_key(job, hashes));
    bool stopping = false;
    for (;;) {
      look_at_running(stopping);
      const bool unfinished = look_at_others(stopping);
      write_table();
      if (running_.empty() && (stopping || !unfinished)) break;
      if (request_.wait(request_.backend.poll_seconds()) && !stopping) {
        stopping = true;
        info_line("told to end: attempts of this process are stopped where they can be resumed");
        leave_or_stop();
      }
    }
    return stopping ? ExitCode::kStopped : verdict(view_fleet(spec_));
  }

 private:
  struct Running {
    std::size_t job;
    Lease lease;
    FleetRecord record;
    bool missed = false;  // seen to have ended without an exit code once
  };

  const FleetJob& job(std::size_t index) const { return spec_.jobs[index]; }
  std::string folder(std::size_t index) const { return job_folder(spec_, job(index)); }

  // Writes the record and tells the log.
  void note(std::size_t index, const FleetRecord& record, const std::string& text) {
    record.write(folder(index));
    info_line("{}: {}", job(index).name(), text);
  }

  void look_at_running(bool stopping) {
    for (auto at = running_.begin(); at != running_.end();) {
      if (!at->lease.renew()) {
        warn_line("{}: another process has taken it over", job(at->job).name());
        at = running_.erase(at);
        continue;
      }
      if (request_.backend.active(at->record.handle) || !ended(*at, stopping)) {
        ++at;
        continue;
      }
      at->lease.give_back();
      at = running_.erase(at);
    }
  }

  // Takes what can be taken of the jobs that are not finished; returns whether any is not.
  bool look_at_others(bool stopping) {
    bool unfinished = false;
    for (std::size_t i = 0; i < spec_.jobs.size(); ++i) {
      const bool mine = std::any_of(running_.begin(), running_.end(), [&](const Running& other) { return other.job == i; });
      if (mine || finished(FleetRecord::read(folder(i)), i)) continue;
      unfinished = true;
      if (!stopping && static_cast<int>(running_.size()) < request_.backend.limit()) try_to_take(i);
    }
    return unfinished || !running_.empty();
  }

  bool finished(const FleetRecord& record, std::size_t index) const {
    if (record.key != keys_[index] || !final_state(record.state)) return false;
    return !(request_.retry && record.state == JobState::kFailed && record.ended < started_);
  }

  void try_to_take(std::size_t index) {
    Lease::Taken taken = Lease::take(folder(index));
    if (!taken.lease) return;
    if (!taken.other.empty()) warn_line("{}: taking over from {}", job(index).name(), taken.other);
    Running mine{index, std::move(*taken.lease), FleetRecord::read(folder(index))};
    if (finished(mine.record, index)) {
      mine.lease.give_back();
      return;
    }
    const bool begun = mine.record.state == JobState::kStarting || mine.record.state == JobState::kRunning;
    if (begun && adopt(mine)) {
      running_.push_back(std::move(mine));
      return;
    }
    if (start(mine))
      running_.push_back(std::move(mine));
    else
      mine.lease.give_back();
  }

  // An attempt of an earlier process: goes on with it, if it exists or left an exit code.
  bool adopt(Running& mine) {
    const Attempt attempt = attempt_of(spec_, job(mine.job), mine.record);
    if (mine.record.state == JobState::kStarting) {
      mine.record.handle = request_.backend.find(attempt);
      if (mine.record.handle.is_null() && !step_end(attempt, "quantize")) {
        --mine.record.attempts;  // it never began
        return false;
      }
      mine.record.state = JobState::kRunning;
    }
    note(mine.job, mine.record, fmt::format("going on with attempt {}", mine.record.attempts));
    return true;
  }

  bool start(Running& mine) {
    FleetRecord& record = mine.record;
    if (record.key != keys_[mine.job]) {
      FleetRecord fresh;
      fresh.output_is_ours = record.output_is_ours;
      record = std::move(fresh);
      record.key = keys_[mine.job];
      record.begun = now_seconds();
      record.replaces = output_sums(job(mine.job).output);
    } else if (record.state == JobState::kFailed) {
      record.forgiven = std::max(record.attempts, usage_of(attempt_of(spec_, job(mine.job), record).folder).failures);
    }
    if (!record.output_is_ours && path_kind(job(mine.job).output) != PathKind::kNothing) {
      fail_job(mine, static_cast<int>(ExitCode::kUsage),
               fmt::format("{} exists and is not of this fleet (it would be replaced) move it away", job(mine.job).output));
      return false;
    }
    record.output_is_ours = true;
    record.state = JobState::kStarting;
    record.message.clear();
    record.handle = Json();
    ++record.attempts;
    Attempt attempt = attempt_of(spec_, job(mine.job), record);
    fs::create_directories(attempt.folder);
    fs::create_directories(fs::path(job(mine.job).output).parent_path());
    const auto quantized = step_end(attempt, "quantize");
    attempt.quantized = quantized && quantized->code == 0 && path_kind(job(mine.job).output) == PathKind::kDirectory;
    if (!attempt.quantized) fs::remove(attempt.folder + "/quantize.exit");
    fs::remove(attempt.folder + "/evaluate.exit");
    record.log = attempt.log(attempt.quantized ? "evaluate" : "quantize");
    record.write(folder(mine.job));
    try {
      request_.backend.start(attempt, [&](const Json& handle) {
        record.handle = handle;
        record.state = JobState::kRunning;
        record.write(folder(mine.job));
      });
    } catch (const Error& error) {
      // Part of it may be in the queue; if so, this is found out like any other attempt.
      if (!record.handle.is_null()) return true;
      fail_job(mine, static_cast<int>(error.code()), error.what());
      return false;
    }
    info_line("{}: attempt {} started", job(mine.job).name(), record.attempts);
    return true;
  }

  void fail_job(Running& mine, int code, const std::string& message) {
    mine.record.state = JobState::kFailed;
    mine.record.exit_code = code;
    mine.record.message = message;
    mine.record.ended = now_seconds();
    note(mine.job, mine.record, fmt::format("failed with exit code {}: {}", code, message));
  }

  // The attempt's output has appeared: what was there before, if anything, is not there any more.
  bool published(const Running& mine) const {
    const std::string sums = output_sums(job(mine.job).output);
    return !sums.empty() && sums != mine.record.replaces;
  }

  // Settles an attempt that is no longer active. False: to be looked at once more, as a file may not be seen here yet.
  bool ended(Running& mine, bool stopping) {
    FleetRecord& record = mine.record;
    const FleetJob& what = job(mine.job);
    const Attempt attempt = attempt_of(spec_, what, record);
    std::optional<StepEnd> end = step_end(attempt, "quantize");
    // Killed after its output had appeared, and perhaps started again by the batch system, which is refused then.
    if ((!end || end->code == static_cast<int>(ExitCode::kUsage)) && published(mine)) {
      settle_step(attempt, "quantize");
      end = step_end(attempt, "quantize");
    }
    std::string step = "quantize";
    if (end && end->code == 0 && what.settings.evaluate) {
      step = "evaluate";
      end = step_end(attempt, step);
    }
    Fate fate;
    if (!end) {
      if (!std::exchange(mine.missed, true)) return false;
      fate = request_.backend.fate(record.handle);
      end = StepEnd{static_cast<int>(fate.code), fate.final};
    }
    const Usage usage = usage_of(attempt.folder);
    record.seconds = usage.seconds;
    record.node_seconds = usage.node_seconds;
    record.exit_code = end->code;
    record.log = attempt.log(step);
    record.handle = Json();
    if (end->code == 0) {
      try {
        record.outputs = collect_outputs(attempt);
        record.state = JobState::kDone;
        record.ended = now_seconds();
        note(mine.job, record, fmt::format("done in {:.0f} s", record.seconds));
        return true;
      } catch (const Error& error) {
        end->code = static_cast<int>(error.code());
        fate.text = error.what();
      }
    }
    std::string message = fate.text.empty() ? error_in_log(record.log) : fate.text;
    if (message.empty()) message = fmt::format("{} ended with exit code {}", step, end->code);
    if (end->cancelled) message = "cancelled; " + message;
    const int tries = std::max(record.attempts, usage.failures) - record.forgiven;
    if (stopping && can_be_retried(end->code) && !end->cancelled) {
      ++record.forgiven;  // it was this process that stopped it
      record.state = JobState::kWaiting;
      note(mine.job, record, "stopped; the next start goes on with it");
    } else if (fate.partial) {
      ++record.forgiven;
      record.state = JobState::kWaiting;
      note(mine.job, record, "quantized; its evaluation is to be submitted");
    } else if (can_be_retried(end->code) && !end->cancelled && tries <= what.settings.retries) {
      record.state = JobState::kWaiting;
      record.message = message;
      note(mine.job, record,
           fmt::format("attempt {} ended with exit code {}, to be tried again: {}", record.attempts, end->code, message));
    } else {
      fail_job(mine, end->code, message);
    }
    return true;
  }

  // At the end of this process: what cannot go on without it is stopped, the rest is left to the next start.
  void leave_or_stop() {
    for (auto at = running_.begin(); at != running_.end();) {
      if (request_.backend.stop(at->record.handle)) {
        ++at;
        continue;
      }
      at->lease.give_back();
      at = running_.erase(at);
    }
  }

  void write_table() {
    const std::string text = write_tables(spec_, view_fleet(spec_), table_);
    table_ = text;
  }

  const FleetRequest& request_;
  const FleetSpec& spec_;
  double started_;
  std::vector<std::string> keys_;
  std::vector<Running> running_;
  std::string table_;
};

}  // namespace

ExitCode run_fleet(const FleetRequest& request) { return FleetLoop(request).run(); }

std::string job_folder(const FleetSpec& spec, const FleetJob& job) { return spec.state + "/jobs/" + job.name(); }

Attempt attempt_of(const FleetSpec& spec, const FleetJob& job, const FleetRecord& record) {
  constexpr std::size_t kShort = 12;
  const std::string key = record.key.substr(0, kShort);
  Attempt attempt{job, job_folder(spec, job) + "/" + key,
                  fmt::format("mpiquant-fleet:{}:{}:{}", job.name(), key, record.attempts), record.attempts};
  attempt.replace = path_kind(job.output) != PathKind::kNothing;
  return attempt;
}

std::vector<FleetJobView> view_fleet(const FleetSpec& spec) {
  std::vector<FleetJobView> views;
  for (const FleetJob& job : spec.jobs)
    views.push_back({job, FleetRecord::read(job_folder(spec, job)), Lease::holder(job_folder(spec, job))});
  return views;
}

}  // namespace mpiquant
