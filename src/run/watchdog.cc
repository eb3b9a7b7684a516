#include "src/run/watchdog.h"

namespace mpiquant {

Watchdog::Watchdog(const Marks& marks, std::chrono::duration<double> timeout, std::function<void(double)> on_hang)
    : thread_([this, &marks, timeout, on_hang = std::move(on_hang)] {
        std::unique_lock lock(mutex_);
        while (!ends_) {
          const auto left = timeout - marks.since();
          if (left.count() <= 0) return on_hang(marks.since().count());
          wake_.wait_for(lock, left, [this] { return ends_; });
        }
      }) {}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

}  // namespace mpiquant
