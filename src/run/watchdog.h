#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace mpiquant {

// Signs of life of a rank; any thread may give one.
class Marks {
 public:
  void mark() { last_ = Clock::now().time_since_epoch().count(); }
  std::chrono::duration<double> since() const { return Clock::duration(Clock::now().time_since_epoch().count() - last_); }

 private:
  using Clock = std::chrono::steady_clock;
  std::atomic<Clock::rep> last_{Clock::now().time_since_epoch().count()};
};

// Calls on_hang(seconds), once, from a thread of its own when no sign of life came for `timeout`.
class Watchdog {
 public:
  Watchdog(const Marks& marks, std::chrono::duration<double> timeout, std::function<void(double)> on_hang);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace mpiquant
