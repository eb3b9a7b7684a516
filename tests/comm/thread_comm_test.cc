#include "src/comm/thread_comm.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "src/comm/local_comm.h"

namespace mpiquant {
namespace {

TEST(LocalComm, IsAGroupOfOne) {
  const auto comm = make_local_comm();
  EXPECT_EQ(comm->rank(), 0);
  EXPECT_EQ(comm->size(), 1);
  EXPECT_EQ(sum_over<std::int64_t>(*comm, 7), 7);
  EXPECT_EQ(comm->split(3, 0)->size(), 1);
  EXPECT_EQ(all_gather_strings(*comm, "alone"), std::vector<std::string>{"alone"});
  EXPECT_EQ(comm->traffic()[CommOp::kAllReduce].sent, 0U);
}

TEST(RunOnThreads, AnErrorOnOneRankEndsTheWaitsOfTheOthers) {
  const auto begin = std::chrono::steady_clock::now();
  try {
    run_on_threads(4, [](Communicator& comm) {
      if (comm.rank() == 2) fail(ExitCode::kInput, "a bad shard");
      comm.barrier();
    });
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInput);
    EXPECT_STREQ(error.what(), "a bad shard");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST(RunOnThreads, ARankThatNeverComesIsAnEnvironmentErrorThatNamesTheOperation) {
  CommOptions options;
  options.timeout = std::chrono::milliseconds(50);
  try {
    run_on_threads(
        3,
        [](Communicator& comm) {
          std::vector<std::int64_t> values(5);
          if (comm.rank() != 1) comm.all_reduce_sum(std::span(values));
        },
        options);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(std::string(error.what()).find("all-reduce of 40 bytes"), std::string::npos) << error.what();
  }
}

TEST(RunOnThreads, RanksThatDifferInWhatTheyDoAreNoticed) {
  EXPECT_THROW(run_on_threads(2,
                              [](Communicator& comm) {
                                std::vector<std::byte> data(4);
                                if (comm.rank() == 0) {
                                  comm.barrier();
                                } else {
                                  comm.broadcast(data, 0);
                                }
                              }),
               Error);
  EXPECT_THROW(run_on_threads(2,
                              [](Communicator& comm) {
                                std::vector<std::byte> data(comm.rank() == 0 ? 4 : 5);
                                comm.broadcast(data, 0);
                              }),
               Error);
}

TEST(Pending, DroppedBeforeItsEndBreaksTheGroup) {
  const auto comm = make_local_comm();
  std::vector<std::byte> data(4);
  { const Pending dropped = comm->start_recv(data, 0, 0); }
  EXPECT_THROW(comm->barrier(), Error);
}

TEST(Pending, MovedFromIsEnded) {
  const auto comm = make_local_comm();
  Pending first = comm->start_barrier();
  Pending second = std::move(first);
  EXPECT_TRUE(first.test());  // NOLINT: the state after the move is part of the contract
  second.wait();
  EXPECT_TRUE(second.test());
  comm->barrier();
}

}  // namespace
}  // namespace mpiquant
