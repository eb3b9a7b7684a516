#include "src/comm/mpi_engine.h"

#include <algorithm>
#include <array>
#include <utility>

#include "src/base/error.h"

namespace mpiquant {

void check_mpi(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  fail(ExitCode::kEnvironment,
       "{} failed: {} (the ranks cannot go on without it) check the network and the launcher, then resume", call,
       std::string(text.data(), static_cast<std::size_t>(length)));
}

void MpiEngine::expect_usable() const {
  expect(std::this_thread::get_id() == thread_, "MPI used by a thread other than the one that initialised it");
  check(!broken_, ExitCode::kEnvironment, "the group of ranks is broken (an operation was given up before it had ended)");
}

void MpiEngine::progress() {
  expect_usable();
  for (std::size_t i = 0; i < groups_.size();) {
    if (const std::shared_ptr<MpiGroup> group = groups_[i].lock()) {
      group->progress();
      ++i;
    } else {
      groups_.erase(groups_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

void MpiOperation::add(Issue issue, std::optional<std::size_t> received) { calls_.push_back({std::move(issue), received}); }

void MpiOperation::issue_next() {
  const Call& call = calls_[next_++];
  in_flight_.push_back({MPI_REQUEST_NULL, call.received});
  call.issue(&in_flight_.back().request);
}

int MpiOperation::test() {
  int ended = 0;
  for (std::size_t i = 0; i < in_flight_.size();) {
    InFlight& call = in_flight_[i];
    int done = 0;
    MPI_Status status;
    check_mpi(MPI_Test(&call.request, &done, &status), "MPI_Test");
    if (done == 0) {
      ++i;
      continue;
    }
    if (call.received) {
      int bytes = 0;
      check_mpi(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
      expect(static_cast<std::size_t>(bytes) == *call.received, "a message of {} bytes where {} were expected", bytes,
             *call.received);
    }
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(i));
    ++ended;
  }
  return ended;
}

bool MpiOperation::advance() {
  // Measured (Open MPI 4.1.4, TCP, 4 ranks): an all-reduce of 8 bytes takes 8 ms with one call between sleeps, 2 to 3 ms with
  // two, 0.6 to 2 ms with four, and no less with more.
  constexpr int kBurst = 4;
  for (int i = 0; i < kBurst && !ended(); ++i) engine_->progress();
  return ended();
}

void MpiGroup::begin_collective(const std::shared_ptr<MpiOperation>& operation) {
  collectives_.push_back(operation);
  issue();
}

void MpiGroup::begin_transfer(const std::shared_ptr<MpiOperation>& operation) {
  while (!operation->issued()) operation->issue_next();
  if (!operation->ended()) transfers_.push_back(operation);
}

void MpiGroup::issue() {
  for (const auto& operation : collectives_) {
    while (!operation->issued()) {
      if (in_flight_ == kWindow) return;
      operation->issue_next();
      ++in_flight_;
    }
  }
}

void MpiGroup::progress() {
  for (const auto& operation : collectives_) in_flight_ -= operation->test();
  std::erase_if(collectives_, [](const auto& operation) { return operation->ended(); });
  for (const auto& operation : transfers_) operation->test();
  std::erase_if(transfers_, [](const auto& operation) { return operation->ended(); });
  issue();
}

}  // namespace mpiquant
