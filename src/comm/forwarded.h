#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "src/comm/communicator.h"

namespace mpiquant {

// An operation of another communicator, as a state of one that is built on it; `then` runs once it has ended.
class Forwarded final : public PendingState {
 public:
  explicit Forwarded(Pending pending, std::function<void()> then = {}) : pending_(std::move(pending)), then_(std::move(then)) {}

  bool advance() override {
    if (!pending_.test()) return false;
    if (then_) std::exchange(then_, {})();
    return true;
  }
  void abandon() noexcept override { pending_ = {}; }

 private:
  Pending pending_;
  std::function<void()> then_;
};

// A reduction to the root, or to all without one, of values on the host.
Pending start_reduction(Communicator& comm, Elements data, ReduceOp op, std::optional<int> root);

}  // namespace mpiquant
