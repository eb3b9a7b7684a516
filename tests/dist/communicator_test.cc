#include "src/comm/communicator.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "tests/dist/faulty_comm.h"
#include "tests/dist/ranks.h"

namespace mpiquant {
namespace {

using Bytes = std::vector<std::byte>;

// Bytes that depend on who sends them and on their place.
Bytes pattern(std::size_t count, int seed) {
  Bytes bytes(count);
  for (std::size_t i = 0; i < count; ++i)
    bytes[i] = static_cast<std::byte>((i * 31 + i / 256 + static_cast<std::size_t>(seed) * 101) & 255);
  return bytes;
}

std::vector<std::int64_t> numbers(std::size_t count, int rank) {
  std::vector<std::int64_t> values(count);
  for (std::size_t i = 0; i < count; ++i)
    values[i] = (static_cast<std::int64_t>(rank) + 1) * ((std::int64_t{1} << 50) + 7 * static_cast<std::int64_t>(i));
  return values;
}

std::vector<std::int64_t> numbers_sum(std::size_t count, int ranks) {
  std::vector<std::int64_t> sum(count, 0);
  for (int r = 0; r < ranks; ++r) {
    const auto part = numbers(count, r);
    for (std::size_t i = 0; i < count; ++i) sum[i] += part[i];
  }
  return sum;
}

// Ranks 1, 4 and 7 bring nothing, the others bring (r + 1)·step bytes.
std::vector<std::size_t> uneven(const Communicator& comm, std::size_t step) {
  std::vector<std::size_t> counts(static_cast<std::size_t>(comm.size()));
  for (std::size_t r = 0; r < counts.size(); ++r) counts[r] = r % 3 == 1 ? 0 : (r + 1) * step;
  return counts;
}

Bytes joined(std::span<const std::size_t> counts) {
  Bytes all;
  for (std::size_t r = 0; r < counts.size(); ++r) {
    const Bytes part = pattern(counts[r], static_cast<int>(r));
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// Each check returns whether the communicator did what it must, as seen by this rank.
using Check = bool (*)(Communicator&);

bool broadcasts(Communicator& comm) {
  bool right = true;
  for (int root = 0; root < comm.size(); ++root) {
    for (const std::size_t count : {0, 1, 63, 64, 65, 1000}) {
      Bytes data = comm.rank() == root ? pattern(count, root) : Bytes(count);
      comm.broadcast(data, root);
      right = right && data == pattern(count, root);
    }
  }
  return right;
}

bool reduces(Communicator& comm) {
  bool right = true;
  for (int root = 0; root < comm.size(); ++root) {
    for (const std::size_t count : {0, 1, 8, 9, 200}) {
      auto values = numbers(count, comm.rank());
      comm.reduce_sum(std::span(values), root);
      right = right && values == (comm.rank() == root ? numbers_sum(count, comm.size()) : numbers(count, comm.rank()));
    }
  }
  return right;
}

bool all_reduces(Communicator& comm) {
  auto values = numbers(200, comm.rank());
  comm.all_reduce_sum(std::span(values));
  auto largest = numbers(200, comm.rank());
  comm.all_reduce_max(std::span(largest));
  return values == numbers_sum(200, comm.size()) && largest == numbers(200, comm.size() - 1);
}

bool all_gathers(Communicator& comm) {
  bool right = true;
  for (const std::size_t step : {0, 1, 5, 100}) {
    const auto counts = uneven(comm, step);
    const std::size_t own = counts[static_cast<std::size_t>(comm.rank())];
    Bytes all(std::accumulate(counts.begin(), counts.end(), std::size_t{0}));
    comm.all_gather_v(pattern(own, comm.rank()), counts, all);
    right = right && all == joined(counts);
    // In place.
    Bytes again(all.size());
    const std::size_t at = std::accumulate(counts.begin(), counts.begin() + comm.rank(), std::size_t{0});
    const Bytes mine = pattern(own, comm.rank());
    std::copy(mine.begin(), mine.end(), again.begin() + static_cast<std::ptrdiff_t>(at));
    comm.all_gather_v(std::span<const std::byte>(again).subspan(at, own), counts, again);
    right = right && again == all;
  }
  return right;
}

bool gathers(Communicator& comm) {
  bool right = true;
  for (int root = 0; root < comm.size(); ++root) {
    const auto counts = uneven(comm, 100);
    Bytes all(comm.rank() == root ? std::accumulate(counts.begin(), counts.end(), std::size_t{0}) : 0);
    comm.gather_v(pattern(counts[static_cast<std::size_t>(comm.rank())], comm.rank()), counts, all, root);
    right = right && (comm.rank() != root || all == joined(counts));
  }
  return right;
}

// Rank r gives rank p (r + 2p + 1) % 5 pieces of `step` bytes, so that some give nothing.
bool all_to_alls(Communicator& comm) {
  bool right = true;
  for (const std::size_t step : {0, 1, 7, 100}) {
    const auto bytes_from_to = [step](int from, int to) { return static_cast<std::size_t>((from + 2 * to + 1) % 5) * step; };
    std::vector<std::size_t> give_counts, get_counts;
    Bytes give, wanted;
    for (int r = 0; r < comm.size(); ++r) {
      give_counts.push_back(bytes_from_to(comm.rank(), r));
      get_counts.push_back(bytes_from_to(r, comm.rank()));
      const Bytes to = pattern(give_counts.back(), comm.rank() * 16 + r), from = pattern(get_counts.back(), r * 16 + comm.rank());
      give.insert(give.end(), to.begin(), to.end());
      wanted.insert(wanted.end(), from.begin(), from.end());
    }
    Bytes get(wanted.size()), again(wanted.size());
    Pending first = comm.start_all_to_all_v(give, give_counts, get, get_counts);
    comm.all_to_all_v(give, give_counts, again, get_counts);
    first.wait();
    right = right && get == wanted && again == wanted;
  }
  return right;
}

// A stream of messages around the ring, two tags, receives begun ahead; with one rank a stream to itself.
bool streams(Communicator& comm) {
  constexpr int kMessages = 20;
  const int next = (comm.rank() + 1) % comm.size();
  const int previous = (comm.rank() + comm.size() - 1) % comm.size();
  std::vector<Bytes> sent;
  std::vector<Bytes> received;
  for (int i = 0; i < kMessages; ++i) {
    sent.push_back(pattern(static_cast<std::size_t>(i) * 17, comm.rank() * 100 + i));
    received.emplace_back(sent.back().size());
  }
  std::vector<Pending> pending;
  for (std::size_t i = 0; i < kMessages; ++i) pending.push_back(comm.start_recv(received[i], previous, static_cast<int>(i % 2)));
  for (std::size_t i = 0; i < kMessages; ++i) pending.push_back(comm.start_send(sent[i], next, static_cast<int>(i % 2)));
  for (Pending& one : pending) one.wait();
  bool right = true;
  for (int i = 0; i < kMessages; ++i)
    right = right && received[static_cast<std::size_t>(i)] == pattern(static_cast<std::size_t>(i) * 17, previous * 100 + i);
  return right;
}

class CommunicatorCheck : public testing::TestWithParam<std::pair<const char*, Check>> {};

TEST_P(CommunicatorCheck, HoldsForAnyMessageLimit) {
  for (const std::size_t limit : {std::size_t{64}, std::size_t{1000}, CommOptions{}.message_limit}) {
    CommOptions options = test_options();
    options.message_limit = limit;
    on_ranks(
        [](Communicator& comm) { EXPECT_TRUE(GetParam().second(comm)) << "on rank " << comm.rank() << " of " << comm.size(); },
        options);
  }
}

TEST_P(CommunicatorCheck, NoticesAFlippedBit) {
  on_ranks([](Communicator& comm) {
    FaultyComm faulty(comm);
    const bool noticed = !GetParam().second(faulty);
    EXPECT_EQ(max_over<std::int64_t>(comm, noticed ? 1 : 0), 1);
  });
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorCheck,
                         testing::Values(std::pair("Broadcast", &broadcasts), std::pair("Reduce", &reduces),
                                         std::pair("AllReduce", &all_reduces), std::pair("AllGather", &all_gathers),
                                         std::pair("Gather", &gathers), std::pair("AllToAll", &all_to_alls),
                                         std::pair("Streams", &streams)),
                         [](const auto& check) { return std::string(check.param.first); });

TEST(Communicator, ReducesEveryElementType) {
  on_ranks([](Communicator& comm) {
    const int n = comm.size();
    std::vector<std::uint64_t> u(3, std::uint64_t{1} << 60);
    comm.reduce_sum(std::span(u), n - 1);
    if (comm.rank() == n - 1) {
      EXPECT_EQ(u[2], static_cast<std::uint64_t>(n) << 60);
    }
    std::vector<double> d(3, 0.5 * (comm.rank() + 1));
    comm.reduce_sum(std::span(d), 0);
    if (comm.rank() == 0) {
      EXPECT_EQ(d[1], 0.25 * n * (n + 1));
    }
    EXPECT_EQ(sum_over(comm, 0.5), 0.5 * n);
    EXPECT_EQ(max_over(comm, -1.5F * static_cast<float>(comm.rank() + 1)), -1.5F);
    EXPECT_EQ(max_over<std::int64_t>(comm, comm.rank() - 10), n - 11);
  });
}

TEST(Communicator, GivesAllRanksTheSameBitsOfAFloatSum) {
  on_ranks([](Communicator& comm) {
    const double sum = sum_over(comm, 1.0 / (3.0 + comm.rank()));
    double first = sum;
    comm.broadcast(bytes_of(std::span(&first, 1)), 0);
    EXPECT_EQ(sum, first);
  });
}

// Ranks on one machine share the clock, so that no tolerance is needed: nobody leaves before the last one has entered.
TEST(Communicator, BarrierHoldsUntilAllHaveCome) {
  const auto now = [] { return static_cast<std::int64_t>(std::chrono::steady_clock::now().time_since_epoch().count()); };
  on_ranks([&](Communicator& comm) {
    comm.barrier();
    if (comm.rank() == comm.size() - 1) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const std::int64_t entered = now();
    comm.barrier();
    const std::int64_t left = now();
    const std::int64_t last_entered = max_over(comm, entered);
    const std::int64_t first_left = -max_over(comm, -left);
    EXPECT_LE(last_entered, first_left);
  });
}

// Operations in flight at once, in pieces beyond the window of any implementation, waited for from last to first.
TEST(Communicator, EndsOperationsInAnyOrderOfWaiting) {
  CommOptions options = test_options();
  options.message_limit = 64;
  on_ranks(
      [](Communicator& comm) {
        constexpr int kOperations = 6;
        std::vector<std::vector<std::int64_t>> values;
        std::vector<Bytes> data;
        for (int i = 0; i < kOperations; ++i) {
          values.push_back(numbers(100, comm.rank()));
          data.push_back(comm.rank() == 0 ? pattern(1000, i) : Bytes(1000));
        }
        std::vector<Pending> pending;
        for (std::size_t i = 0; i < kOperations; ++i) {
          pending.push_back(comm.start_all_reduce_sum<std::int64_t>(values[i]));
          pending.push_back(comm.start_broadcast(data[i], 0));
        }
        // Half of the ranks wait the other way round.
        if (comm.rank() % 2 == 0) std::reverse(pending.begin(), pending.end());
        for (Pending& one : pending) one.wait();
        for (int i = 0; i < kOperations; ++i) {
          EXPECT_EQ(values[static_cast<std::size_t>(i)], numbers_sum(100, comm.size()));
          EXPECT_EQ(data[static_cast<std::size_t>(i)], pattern(1000, i));
        }
      },
      options);
}

// A rank that waits for one group must not hold up the other.
TEST(Communicator, WaitingForOneGroupLetsTheOtherProceed) {
  CommOptions options = test_options();
  options.message_limit = 64;
  on_ranks(
      [](Communicator& comm) {
        const auto a = comm.split(0, comm.rank());
        const auto b = comm.split(0, comm.rank());
        auto first = numbers(1000, comm.rank());
        auto second = numbers(1000, comm.rank());
        Pending on_a = a->start_all_reduce_sum<std::int64_t>(first);
        Pending on_b = b->start_all_reduce_sum<std::int64_t>(second);
        if (comm.rank() % 2 == 0) {
          on_a.wait();
          on_b.wait();
        } else {
          on_b.wait();
          on_a.wait();
        }
        EXPECT_EQ(first, numbers_sum(1000, comm.size()));
        EXPECT_EQ(second, first);
      },
      options);
}

TEST(Communicator, MovesMoreThanOneMessageCanHold) {
  on_ranks([](Communicator& comm) {
    if (comm.size() > 3) return;
    const std::size_t count = CommOptions{}.message_limit + 12345;
    Bytes data = comm.rank() == 0 ? pattern(count, 1) : Bytes(count);
    comm.broadcast(data, 0);
    EXPECT_TRUE(data == pattern(count, 1));
    auto values = numbers(count / 8, comm.rank());
    comm.reduce_sum(std::span(values), comm.size() - 1);
    if (comm.rank() == comm.size() - 1) {
      EXPECT_TRUE(values == numbers_sum(count / 8, comm.size()));
    }
  });
}

// The last rank comes only after the others have told it that their waits ended, so the barrier cannot have ended before.
TEST(Communicator, EndsAWaitAtItsDeadlineAndCanWaitAgain) {
  on_ranks([](Communicator& comm) {
    const int late = comm.size() - 1;
    std::byte word{};
    const std::span<std::byte> message(&word, 1);
    if (comm.rank() == late) {
      for (int r = 0; r < late; ++r) comm.recv(message, r, 0);
      comm.barrier();
      return;
    }
    Pending pending = comm.start_barrier();
    const auto begin = std::chrono::steady_clock::now();
    try {
      pending.wait(std::chrono::milliseconds(100));
      ADD_FAILURE() << "the barrier ended without rank " << late;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment);
      EXPECT_NE(std::string(error.what()).find("barrier has not ended after 0.1 s"), std::string::npos) << error.what();
    }
    const auto waited = std::chrono::steady_clock::now() - begin;
    EXPECT_GE(waited, std::chrono::milliseconds(100));
    EXPECT_LT(waited, test_options().timeout / 2);
    comm.send(message, late, 0);
    pending.wait();
  });
}

TEST(Communicator, EndsAReceiveFromASilentPeerAtItsDeadline) {
  on_ranks([](Communicator& comm) {
    const int peer = (comm.rank() + 1) % comm.size();
    std::int64_t value = 0;
    Pending pending = comm.start_recv(bytes_of(std::span(&value, 1)), peer, 3);
    try {
      pending.wait(std::chrono::milliseconds(50));
      ADD_FAILURE() << "received what nobody sent";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment);
      EXPECT_NE(std::string(error.what()).find("receive of 8 bytes with rank " + std::to_string(peer)), std::string::npos);
    }
    comm.barrier();
    const std::int64_t mine = comm.rank() + 40;
    comm.send(bytes_of(std::span(&mine, 1)), (comm.rank() + comm.size() - 1) % comm.size(), 3);
    pending.wait();
    EXPECT_EQ(value, peer + 40);
  });
}

TEST(Communicator, RefusesDeviceBuffers) {
  on_ranks([](Communicator& comm) {
    std::vector<std::int64_t> values(4);
    const Buffer<std::int64_t> device(values, MemSpace::kDevice);
    EXPECT_THROW(comm.start_all_reduce_sum(device), Error);
    EXPECT_THROW(comm.start_reduce_sum(device, 0), Error);
    EXPECT_THROW(comm.start_broadcast({std::as_writable_bytes(std::span(values)), MemSpace::kDevice}, 0), Error);
    EXPECT_THROW(comm.start_send({std::as_bytes(std::span(values)), MemSpace::kDevice}, 0, 0), Error);
    comm.barrier();
  });
}

TEST(Communicator, RefusesRanksTagsAndCountsOutOfRange) {
  on_ranks([](Communicator& comm) {
    Bytes data(8);
    EXPECT_THROW(comm.start_broadcast(data, comm.size()), Error);
    EXPECT_THROW(comm.start_recv(data, -1, 0), Error);
    EXPECT_THROW(comm.start_send(data, 0, Communicator::kMaxTag + 1), Error);
    std::vector<std::size_t> counts(static_cast<std::size_t>(comm.size()), 8);
    EXPECT_THROW(comm.start_all_gather_v(data, counts, {}), Error);
    EXPECT_THROW(comm.start_all_to_all_v({}, counts, data, counts), Error);
    counts.push_back(0);
    EXPECT_THROW(comm.start_all_gather_v(data, counts, {}), Error);
    EXPECT_THROW(comm.start_all_to_all_v({}, counts, {}, counts), Error);
    comm.barrier();
  });
}

TEST(Communicator, CountsThePayload) {
  on_ranks([](Communicator& comm) {
    const auto n = static_cast<std::uint64_t>(comm.size());
    const bool root = comm.rank() == 0;
    auto values = numbers(100, comm.rank());
    comm.reduce_sum(std::span(values), 0);
    comm.reduce_sum(std::span(values), 0);
    comm.all_reduce_sum(std::span(values));
    Bytes data(50);
    comm.broadcast(data, 0);
    const Traffic& traffic = comm.traffic();
    EXPECT_EQ(traffic[CommOp::kReduce].calls, 2U);
    EXPECT_EQ(traffic[CommOp::kReduce].sent, root ? 0 : 1600U);
    EXPECT_EQ(traffic[CommOp::kReduce].received, root ? 1600 * (n - 1) : 0);
    EXPECT_EQ(traffic[CommOp::kAllReduce].sent, n > 1 ? 800U : 0U);
    EXPECT_EQ(traffic[CommOp::kBroadcast].sent, root && n > 1 ? 50U : 0U);
    EXPECT_EQ(traffic[CommOp::kBroadcast].received, root ? 0 : 50U);
    Traffic twice = traffic;
    twice += traffic;
    EXPECT_EQ(twice[CommOp::kReduce].calls, 4U);
  });
}

}  // namespace
}  // namespace mpiquant
