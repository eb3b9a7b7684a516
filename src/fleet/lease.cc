#include "src/fleet/lease.h"

#include <unistd.h>

#include <charconv>
#include <string_view>

#include "io/file.h"
#include "src/base/error.h"
#include "src/fleet/process.h"
#include "src/fleet/state.h"

namespace mpiquant {
namespace {

constexpr double kRenewSeconds = 30;
// A holder on another host that has not renewed for so long is gone. Clocks of hosts may differ by a part of it.
constexpr double kLostSeconds = 600;

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

Json holder_json(bool held) {
  const ProcessId own = own_process();
  return {{"held", held}, {"host", host_name()}, {"pid", own.pid}, {"start", own.start}, {"time", now_seconds()}};
}

std::string describe(const Json& lease) {
  return fmt::format("process {} on {} (last seen {})", lease.at("pid").get<std::int64_t>(), lease.at("host").get<std::string>(),
                     time_text(lease.at("time").get<double>()));
}

bool gone(const Json& lease) {
  if (lease.at("host") == host_name())
    return !alive({static_cast<pid_t>(lease.at("pid").get<std::int64_t>()), lease.at("start").get<std::uint64_t>()});
  return now_seconds() - lease.at("time").get<double>() > kLostSeconds;
}

}  // namespace

std::optional<Lease> Lease::take(const std::string& folder, std::string& replaced) {
  replaced.clear();
  const int current = highest(folder);
  if (current > 0) {
    const std::optional<Json> lease = read_state(lease_path(folder, current));
    if (!lease) return std::nullopt;  // just replaced by a higher one
    if (lease->at("held").get<bool>()) {
      if (!gone(*lease)) return std::nullopt;
      replaced = describe(*lease);
    }
  }
  Lease mine(folder, current + 1);
  if (!create_shared_file(lease_path(folder, mine.number_), holder_json(true).dump())) return std::nullopt;
  // Two processes may have seen different highest numbers while older files were removed: the highest one wins.
  if (highest(folder) != mine.number_) return std::nullopt;
  mine.renewed_ = now_seconds();
  for (const std::string& name : list_directory(folder))
    if (const int number = number_of(name); number > 0 && number < mine.number_) ::unlink(lease_path(folder, number).c_str());
  return mine;
}

std::string Lease::holder(const std::string& folder) {
  const int current = highest(folder);
  const std::optional<Json> lease = current > 0 ? read_state(lease_path(folder, current)) : std::nullopt;
  return lease && lease->at("held").get<bool>() && !gone(*lease) ? describe(*lease) : "";
}

bool Lease::renew() {
  if (now_seconds() - renewed_ < kRenewSeconds) return true;
  if (highest(folder_) != number_) return false;
  replace_shared_file(lease_path(folder_, number_), holder_json(true).dump());
  renewed_ = now_seconds();
  return true;
}

void Lease::give_back() {
  if (highest(folder_) == number_) replace_shared_file(lease_path(folder_, number_), holder_json(false).dump());
}

}  // namespace mpiquant
