#include "src/base/process_id.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

namespace mpiquant {
namespace {

// State letter and start time from /proc/PID/stat; '\0' when there is no such process.
std::pair<char, std::uint64_t> process_facts(pid_t pid) {
  constexpr int kFieldsBeforeStart = 19;  // after the state, field 3; the start time is field 22
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(file, text)) return {'\0', 0};
  // The name in parentheses may hold anything.
  std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
  std::string state;
  fields >> state;
  std::uint64_t start = 0;
  std::string skipped;
  for (int i = 1; i < kFieldsBeforeStart; ++i) fields >> skipped;
  fields >> start;
  return {state.empty() ? '\0' : state.front(), start};
}

}  // namespace

ProcessId process_of(pid_t pid) { return {pid, process_facts(pid).second}; }
ProcessId own_process() { return process_of(::getpid()); }

bool alive(const ProcessId& process) {
  const auto [state, start] = process_facts(process.pid);
  if (state == '\0' || start != process.start) return false;
  if (state != 'Z' && state != 'X') return true;
  ::waitpid(process.pid, nullptr, WNOHANG);
  return false;
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

std::string pid_namespace() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/ns/pid", error).string();
}

}  // namespace mpiquant
