#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/process_id.h"

namespace mpiquant {

// The environment for jobs: this process's own, without names that look like secrets (…TOKEN, …SECRET, …PASSWORD, …KEY: batch
// systems store environments), with `more` on top.
std::vector<std::string> job_environment(const std::map<std::string, std::string>& more);

// This process's own environment without some names.
std::vector<std::string> environment_without(const std::vector<std::string_view>& names);

// A process in a group of its own that begins with a line on its standard input: until go() it has not started its work, and if
// this process dies before, it ends by itself. Output goes to `log`, appended.
class HeldProcess {
 public:
  HeldProcess(const std::vector<std::string>& command, const std::vector<std::string>& environment, const std::string& log);
  ~HeldProcess();
  HeldProcess(const HeldProcess&) = delete;
  HeldProcess& operator=(const HeldProcess&) = delete;

  const ProcessId& id() const { return id_; }
  void go();

 private:
  ProcessId id_;
  int input_ = -1;
};

struct CommandResult {
  int code = 0;  // exit status, or 128 + signal
  std::string output;
  std::string errors;
};

// Runs a program (looked up in PATH; no shell) and waits for it. Throws (environment error) when it cannot be started.
CommandResult run_command(const std::vector<std::string>& command, const std::vector<std::string>& environment);

// The same for a person to watch: all it says goes to standard error at once, and the terminal's signals reach it. When a stop is
// wanted, it is ended by SIGTERM. Returns the exit status, or 128 + signal.
int run_shown(const std::vector<std::string>& command, const std::vector<std::string>& environment,
              const std::function<bool()>& stop_wanted);

// Whether a program of that name is in PATH.
bool is_in_path(const std::string& program);

}  // namespace mpiquant
