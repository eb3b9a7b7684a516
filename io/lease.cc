#include "io/lease.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "io/file.h"
#include "io/shared_file.h"
#include "src/base/environment.h"
#include "src/base/error.h"
#include "src/base/process_id.h"

namespace mpiquant {
namespace {

std::string lease_path(const std::string& folder, int number) { return fmt::format("{}/lease.{}", folder, number); }

// The number of a lease file's name, or 0.
int number_of(std::string_view name) {
  constexpr std::string_view kPrefix = "lease.";
  int number = 0;
  if (!name.starts_with(kPrefix)) return 0;
  const auto [end, error] = std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), number);
  return error == std::errc() && end == name.data() + name.size() ? number : 0;
}

int highest(const std::string& folder) {
  int number = 0;
  if (path_kind(folder) != PathKind::kDirectory) return number;
  for (const std::string& name : list_directory(folder)) number = std::max(number, number_of(name));
  return number;
}

struct Holder {
  bool held = false;
  std::string host, pid_namespace, job;
  ProcessId process;
  double began = 0, renewed = 0;

  bool is_here() const { return host == host_name() && pid_namespace == mpiquant::pid_namespace(); }
  std::string described() const {
    return fmt::format("process {} on {}{}, since {}", process.pid, host, job.empty() ? "" : " (Slurm job " + job + ")",
                       time_text(began));
  }
  // Why it cannot be alive, or nothing.
  std::string death() const {
    if (is_here()) return alive(process) ? "" : "its process is gone";
    if (!job.empty() && job == environment("SLURM_JOB_ID")) return "an earlier start of this batch job";
    const double age = now_seconds() - renewed;
    if (age > static_cast<double>(Lease::kLifetime.count())) return fmt::format("it was last renewed {:.0f} s ago", age);
    return "";
  }
};

// The holder that a file names, or nothing when it is not there.
std::optional<Holder> read_holder(const std::string& path) {
  const std::optional<Json> json = read_state(path);
  if (!json) return std::nullopt;
  try {
    return Holder{
        json->at("held"),  json->at("host"),   json->at("pid_namespace"), json->at("job"), {json->at("pid"), json->at("start")},
        json->at("began"), json->at("renewed")};
  } catch (const Json::exception& error) {
    fail(ExitCode::kInput, "{} names no holder ({}) make sure that no job works there, and remove the file", path, error.what());
  }
}

}  // namespace

Lease::Lease(std::string folder, int number)
    : folder_(std::move(folder)), number_(number), began_(now_seconds()), renewed_(began_) {}

std::string Lease::text(bool held) const {
  const ProcessId own = own_process();
  return Json{{"held", held},
              {"host", host_name()},
              {"pid_namespace", pid_namespace()},
              {"job", environment("SLURM_JOB_ID")},
              {"pid", own.pid},
              {"start", own.start},
              {"began", began_},
              {"renewed", now_seconds()}}
             .dump() +
         "\n";
}

Lease::Taken Lease::take(const std::string& folder, bool force) {
  Taken taken;
  const int current = highest(folder);
  if (current > 0) {
    const std::optional<Holder> holder = read_holder(lease_path(folder, current));
    if (!holder) return taken;  // just replaced by a higher one
    if (holder->held) {
      const std::string death = force ? "--force was given" : holder->death();
      taken.other = holder->described();
      taken.other_is_here = holder->is_here();
      if (death.empty()) return taken;
      taken.other += ": " + death;
    }
  }
  Lease mine(folder, current + 1);
  if (!create_shared_file(lease_path(folder, mine.number_), mine.text(true))) return taken;
  // Two processes may have seen different highest numbers while older files were removed: the highest one wins.
  if (highest(folder) != mine.number_) return taken;
  for (const std::string& name : list_directory(folder))
    if (const int number = number_of(name); number > 0 && number < mine.number_) ::unlink(lease_path(folder, number).c_str());
  taken.lease = std::move(mine);
  return taken;
}

void Lease::remove_all(const std::string& folder) {
  if (path_kind(folder) != PathKind::kDirectory) return;
  std::error_code ignored;
  for (const std::string& name : list_directory(folder))
    if (number_of(name) > 0) std::filesystem::remove(std::filesystem::path(folder) / name, ignored);
}

std::string Lease::holder(const std::string& folder) {
  const int current = highest(folder);
  const std::optional<Holder> holder = current > 0 ? read_holder(lease_path(folder, current)) : std::nullopt;
  return holder && holder->held && holder->death().empty() ? holder->described() : "";
}

bool Lease::renew() {
  if (now_seconds() - renewed_ < static_cast<double>(kRenewal.count())) return true;
  if (highest(folder_) != number_) return false;
  replace_shared_file(lease_path(folder_, number_), text(true));
  renewed_ = now_seconds();
  return true;
}

void Lease::give_back() {
  if (highest(folder_) == number_) replace_shared_file(lease_path(folder_, number_), text(false));
}

void Lease::discard() { ::unlink(lease_path(folder_, number_).c_str()); }

}  // namespace mpiquant
