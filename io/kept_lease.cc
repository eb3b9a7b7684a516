#include "io/kept_lease.h"

#include "src/base/error.h"
#include "src/base/log.h"

namespace mpiquant {
namespace {

Lease take(const std::string& folder, bool force, std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    Lease::Taken taken = Lease::take(folder, force);
    if (taken.lease) {
      if (!taken.other.empty()) warn_line("taking over from {}", taken.other);
      return std::move(*taken.lease);
    }
    check(
        std::chrono::steady_clock::now() < deadline && (taken.other_is_here || taken.other.empty()), ExitCode::kUsage,
        "another job works on this output: {} (two would spoil each other's files; its lease is in {}) wait for it or, if it is "
        "dead, give --force",
        taken.other.empty() ? "one that has just begun" : taken.other, folder);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

KeptLease::KeptLease(const std::string& folder, bool force, std::chrono::milliseconds patience)
    : lease_(take(folder, force, patience)) {
  renewal_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, Lease::kRenewal, [this] { return ends_; })) {
      try {
        if (lease_.renew()) continue;
        log_warning("another job has taken this output over: end one of the two");
        return;
      } catch (const Error& error) {
        log_warning(error.what());  // the next turn may succeed
      }
    }
  });
}

KeptLease::~KeptLease() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  renewal_.join();
  lease_.discard();
}

}  // namespace mpiquant
