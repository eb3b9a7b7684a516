#pragma once

#include <mpi.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "src/comm/pending.h"

namespace mpiquant {

// Every call of MPI goes through this: throws an environment error with MPI's own text.
void check_mpi(int result, const char* call);

class MpiGroup;

// The state shared by all MPI groups of a process: whoever waits for one group lets the others' operations proceed, too.
class MpiEngine {
 public:
  MpiEngine() : thread_(std::this_thread::get_id()) {}

  void add(const std::shared_ptr<MpiGroup>& group) { groups_.push_back(group); }
  // Issues and tests what is under way. Throws an environment error once an operation was given up, since MPI
  // could then write into buffers that are gone.
  void progress();
  // Throws unless called by the thread that communicates, with no operation given up.
  void expect_usable() const;
  void break_down() { broken_ = true; }
  bool broken() const { return broken_; }

 private:
  std::thread::id thread_;
  std::vector<std::weak_ptr<MpiGroup>> groups_;
  bool broken_ = false;
};

// One operation: a list of MPI calls, each of one message, which end in any order.
class MpiOperation final : public PendingState {
 public:
  // Begins one non-blocking MPI call.
  using Issue = std::function<void(MPI_Request*)>;

  explicit MpiOperation(std::shared_ptr<MpiEngine> engine) : engine_(std::move(engine)) {}

  // received: bytes that a point-to-point receive must bring.
  void add(Issue issue, std::optional<std::size_t> received = std::nullopt);
  // Memory that the calls use, kept until the operation is gone.
  void keep(std::shared_ptr<const void> memory) { kept_.push_back(std::move(memory)); }

  bool issued() const { return next_ == calls_.size(); }
  bool ended() const { return issued() && in_flight_.empty(); }
  void issue_next();
  // Calls that ended.
  int test();

  bool advance() override;
  void abandon() noexcept override { engine_->break_down(); }

 private:
  struct Call {
    Issue issue;
    std::optional<std::size_t> received;
  };
  struct InFlight {
    MPI_Request request;
    std::optional<std::size_t> received;
  };

  std::shared_ptr<MpiEngine> engine_;
  std::vector<Call> calls_;
  std::size_t next_ = 0;
  std::vector<InFlight> in_flight_;
  std::vector<std::shared_ptr<const void>> kept_;
};

// An MPI communicator and its operations. MPI matches collectives by the order of their calls, so they are issued strictly one
// after the other, the same way on all ranks, however the ranks wait for them.
class MpiGroup {
 public:
  explicit MpiGroup(MPI_Comm comm) : comm_(comm) {}
  MPI_Comm comm() const { return comm_; }

  // Collective calls: at most kWindow are in flight, because MPI may hold buffers of a message's size for each.
  void begin_collective(const std::shared_ptr<MpiOperation>& operation);
  // Point-to-point calls: issued at once.
  void begin_transfer(const std::shared_ptr<MpiOperation>& operation);
  void progress();

 private:
  static constexpr int kWindow = 4;
  void issue();

  MPI_Comm comm_;
  std::deque<std::shared_ptr<MpiOperation>> collectives_;  // not ended, in the order begun
  std::vector<std::shared_ptr<MpiOperation>> transfers_;   // not ended
  int in_flight_ = 0;                                      // collective calls
};

}  // namespace mpiquant
