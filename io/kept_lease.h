#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "io/lease.h"

namespace mpiquant {

// A lease that a thread renews until it is given back; it leaves no file.
class KeptLease {
 public:
  // One whose holder is known to be dead is taken over with a warning. Throws (usage error) when another job holds it and there
  // is no `force`. A launcher may return before the last processes of its job are gone: a holder on this host is given `patience`
  // to end.
  KeptLease(const std::string& folder, bool force, std::chrono::milliseconds patience);
  ~KeptLease();
  KeptLease(const KeptLease&) = delete;
  KeptLease& operator=(const KeptLease&) = delete;

 private:
  Lease lease_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::thread renewal_;
};

}  // namespace mpiquant
