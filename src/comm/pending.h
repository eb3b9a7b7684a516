#pragma once

#include <chrono>
#include <memory>
#include <string>

namespace mpiquant {

using Timeout = std::chrono::milliseconds;

// What a communicator knows of an operation it has begun.
class PendingState {
 public:
  virtual ~PendingState() = default;
  // Makes progress without blocking; true once the operation has ended on this rank. Throws if it cannot end.
  virtual bool advance() = 0;
  // The caller gives up and may free its buffers: no further access to them, or no further operation at all.
  virtual void abandon() noexcept = 0;
};

// Sleeps that grow from 20 µs to 1 ms, so that ranks that share cores do not burn each other's time.
class BackOff {
 public:
  void pause();

 private:
  int yields_ = 0;
  std::chrono::microseconds sleep_{20};
};

// Handle of an operation under way; the buffers given to the operation must live, untouched, until it has ended.
// A handle dropped before that makes its communicator refuse further operations.
class [[nodiscard]] Pending {
 public:
  Pending() = default;
  // what names the operation in messages; timeout is the default of wait().
  Pending(std::shared_ptr<PendingState> state, std::string what, Timeout timeout)
      : state_(std::move(state)), what_(std::move(what)), timeout_(timeout) {}
  ~Pending() { drop(); }
  Pending(Pending&& other) noexcept = default;
  Pending& operator=(Pending&& other) noexcept;
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  // Makes progress; true once the operation has ended.
  bool test();
  // Polls until the operation has ended. Throws an environment error that names the operation when it has not after
  // `timeout` (counted from this call); the handle stays valid, so that one may wait again.
  void wait() { wait(timeout_); }
  void wait(Timeout timeout);

 private:
  void drop() noexcept;

  std::shared_ptr<PendingState> state_;  // null once ended
  std::string what_;
  Timeout timeout_{0};
};

}  // namespace mpiquant
