#include "io/work_lease.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/json.h"
#include "src/base/log.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "unknown";
}

std::string utc(std::time_t when) {
  std::tm parts{};
  ::gmtime_r(&when, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

// Tells process numbers of different containers on one host apart.
std::string pid_namespace() {
  std::error_code error;
  return fs::read_symlink("/proc/self/ns/pid", error).string();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Json holder(const std::string& began) {
  return {{"host", host_name()},
          {"pid", ::getpid()},
          {"pid_namespace", pid_namespace()},
          {"job", environment("SLURM_JOB_ID")},
          {"began", began},
          {"renewed", static_cast<std::int64_t>(std::time(nullptr))}};
}

std::string described(const Json& of) {
  const std::string job = of.value("job", "");
  return fmt::format("process {} on {}{}, since {}", of.value("pid", 0), of.value("host", "an unknown host"),
                     job.empty() ? "" : " (Slurm job " + job + ")", of.value("began", "an unknown time"));
}

bool is_here(const Json& of) { return of.value("host", "") == host_name() && of.value("pid_namespace", "") == pid_namespace(); }

// A process that has ended but was not yet waited for counts as gone.
bool is_gone(::pid_t pid) {
  if (::kill(pid, 0) != 0) return errno == ESRCH;
  std::ifstream stat(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(stat, text);
  const std::size_t name_end = text.rfind(") ");
  return name_end != std::string::npos && text.compare(name_end + 2, 1, "Z") == 0;
}

// Why the holder cannot be alive, or nothing.
std::string death_of(const Json& of) {
  const std::string job = of.value("job", "");
  if (!job.empty() && job == environment("SLURM_JOB_ID")) return "an earlier start of this batch job";
  const auto pid = of.value("pid", ::pid_t{0});
  if (pid > 0 && is_here(of) && is_gone(pid)) return "its process is gone";
  const std::int64_t age = static_cast<std::int64_t>(std::time(nullptr)) - of.value("renewed", std::int64_t{0});
  if (age > WorkLease::kLifetime.count()) return fmt::format("it was last renewed {} s ago", age);
  return "";
}

// Creates the file unless it exists. True if it was created.
bool create_new(const std::string& path, const std::string& text) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor < 0 && errno == EEXIST) return false;
  check(descriptor >= 0, ExitCode::kEnvironment, "cannot create {} ({}) choose a place this user may write to for --work-dir",
        path, std::generic_category().message(errno));
  ::close(descriptor);
  try {
    replace_text_file(path, text);
  } catch (const Error&) {
    ::unlink(path.c_str());
    throw;
  }
  return true;
}

}  // namespace

WorkLease::WorkLease(std::string path, bool force, std::chrono::milliseconds patience)
    : path_(std::move(path)), began_(utc(std::time(nullptr))) {
  if (!create_new(path_, holder(began_).dump(1) + "\n")) {
    Json other = Json::object();
    const std::string text = read_text_file(path_);
    if (!text.empty()) other = parse_json(text, path_);
    std::string death = death_of(other);
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (!force && death.empty() && is_here(other) && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      death = death_of(other);
    }
    check(force || !death.empty(), ExitCode::kUsage,
          "another job works on this output: {} (two would spoil each other's files; {}) wait for it or, if it is dead, give "
          "--force",
          described(other), path_);
    warn_line("taking over from {}: {}", described(other), death.empty() ? "--force was given" : death);
    renew();
  }
  renewal_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, kRenewal, [this] { return ends_; })) {
      const auto failure = [this] {
        try {
          renew();
          return std::string();
        } catch (const Error& error) {
          return std::string(error.what());
        }
      }();
      if (!failure.empty()) log_warning(failure);
    }
  });
}

void WorkLease::renew() { replace_text_file(path_, holder(began_).dump(1) + "\n"); }

WorkLease::~WorkLease() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  if (renewal_.joinable()) renewal_.join();
  std::error_code ignored;  // what stays is recognized as stale
  fs::remove(path_, ignored);
}

}  // namespace mpiquant
