#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace mpiquant {

// The right of one job to work on an output, as a small JSON file that names its holder: host, process, batch job, times. The
// holder renews it while it lives. Relies on exclusive creation and rename alone, no locks, so that it works on network file
// systems.
class WorkLease {
 public:
  static constexpr std::chrono::seconds kRenewal{20};
  // A lease that was not renewed for so long is stale.
  static constexpr std::chrono::seconds kLifetime{300};

  // Takes the lease. One whose holder is known to be dead (a process of this host that is gone, an earlier start of this batch
  // job, one not renewed for kLifetime) is taken over with a warning. Throws (usage error) when another job holds it and there is
  // no `force`. A launcher may return before the last processes of its job are gone: a holder on this host is given `patience`
  // to end.
  WorkLease(std::string path, bool force, std::chrono::milliseconds patience);
  // Gives it back.
  ~WorkLease();
  WorkLease(const WorkLease&) = delete;
  WorkLease& operator=(const WorkLease&) = delete;

 private:
  void renew();

  std::string path_;
  std::string began_;  // UTC
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::thread renewal_;
};

}  // namespace mpiquant
