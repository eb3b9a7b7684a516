#include "src/comm/pending.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "src/base/error.h"

namespace mpiquant {

void BackOff::pause() {
  constexpr int kYields = 16;
  constexpr std::chrono::microseconds kLongest{1000};
  if (yields_ < kYields) {
    ++yields_;
    std::this_thread::yield();
    return;
  }
  std::this_thread::sleep_for(sleep_);
  sleep_ = std::min(sleep_ * 2, kLongest);
}

Pending& Pending::operator=(Pending&& other) noexcept {
  if (this != &other) {
    drop();
    state_ = std::move(other.state_);
    what_ = std::move(other.what_);
    timeout_ = other.timeout_;
  }
  return *this;
}

bool Pending::test() {
  if (state_ && state_->advance()) state_.reset();
  return state_ == nullptr;
}

void Pending::wait(Timeout timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  BackOff back_off;
  while (!test()) {
    check(std::chrono::steady_clock::now() < deadline, ExitCode::kEnvironment,
          "{} has not ended after {} s (a rank is lost, stuck or much slower than the others) look at the other ranks' logs, "
          "then resume",
          what_, std::chrono::duration<double>(timeout).count());
    back_off.pause();
  }
}

void Pending::drop() noexcept {
  if (state_) state_->abandon();
  state_.reset();
}

}  // namespace mpiquant
