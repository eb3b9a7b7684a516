#include "src/comm/grid.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "tests/dist/ranks.h"

namespace mpiquant {
namespace {

TEST(Split, OrdersByKeyAndKeepsGroupsApart) {
  on_ranks([](Communicator& comm) {
    // Even and odd ranks, each in reverse order.
    const auto part = comm.split(comm.rank() % 2, -comm.rank());
    const int members = (comm.size() + 1 - comm.rank() % 2) / 2;
    ASSERT_EQ(part->size(), members);
    EXPECT_EQ(part->rank(), members - 1 - comm.rank() / 2);
    std::int64_t expected = 0;
    for (int r = comm.rank() % 2; r < comm.size(); r += 2) expected += r;
    EXPECT_EQ(sum_over<std::int64_t>(*part, comm.rank()), expected);
    // A group of a group, and the parent beside it.
    const auto alone = part->split(part->rank(), 0);
    EXPECT_EQ(alone->size(), 1);
    EXPECT_EQ(sum_over<std::int64_t>(*alone, comm.rank()), comm.rank());
    EXPECT_EQ(sum_over<std::int64_t>(comm, 1), comm.size());
  });
}

TEST(Grid, PlacesReplicasOfAStageSideBySide) {
  on_ranks([](Communicator& comm) {
    for (int stages = 1; stages <= comm.size(); ++stages) {
      if (comm.size() % stages != 0) {
        EXPECT_THROW(make_grid(comm, stages), Error);
        continue;
      }
      const Grid grid = make_grid(comm, stages);
      const int replicas = comm.size() / stages;
      EXPECT_EQ(grid.group->size(), replicas);
      EXPECT_EQ(grid.pipe->size(), stages);
      EXPECT_EQ(grid.stage(), comm.rank() / replicas);
      EXPECT_EQ(grid.replica(), comm.rank() % replicas);
      EXPECT_EQ(grid.shape.rank_of(grid.stage(), grid.replica()), comm.rank());
      EXPECT_EQ(max_over<std::int64_t>(*grid.group, comm.rank()), grid.shape.rank_of(grid.stage(), replicas - 1));
      EXPECT_EQ(max_over<std::int64_t>(*grid.pipe, comm.rank()), grid.shape.rank_of(stages - 1, grid.replica()));
    }
  });
}

// Units stream down the pipe while every stage reduces over its replicas.
TEST(Grid, StreamsUnitsFromStageToStage) {
  CommOptions options = test_options();
  options.message_limit = 64;
  on_ranks(
      [](Communicator& comm) {
        for (int stages = 1; stages <= comm.size(); ++stages) {
          if (comm.size() % stages != 0) continue;
          const Grid grid = make_grid(comm, stages);
          constexpr std::int64_t kUnits = 10;
          std::vector<std::int64_t> unit(50);
          std::vector<std::int64_t> onward(50);
          Pending sending;
          for (std::int64_t u = 0; u < kUnits; ++u) {
            if (grid.stage() == 0) {
              unit.assign(unit.size(), u * 100 + grid.replica());
            } else {
              grid.pipe->recv(bytes_of(unit), grid.stage() - 1, 0);
            }
            EXPECT_EQ(unit.front(), u * 100 + grid.replica() + grid.stage() * 1000);
            EXPECT_EQ(unit.back(), unit.front());
            std::vector<std::int64_t> sum = unit;
            grid.group->reduce_sum(std::span(sum), static_cast<int>(u) % grid.shape.replicas);
            sending.wait(std::chrono::seconds(60));
            for (std::size_t i = 0; i < unit.size(); ++i) onward[i] = unit[i] + 1000;
            if (grid.stage() + 1 < stages) sending = grid.pipe->start_send(bytes_of(onward), grid.stage() + 1, 0);
          }
          sending.wait(std::chrono::seconds(60));
          comm.barrier();
        }
      },
      options);
}

TEST(GridShape, NamesTheNumbersOfStagesThatArePossible) {
  try {
    grid_shape(12, 5);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("1, 2, 3, 4, 6, 12"), std::string::npos) << error.what();
  }
  EXPECT_THROW(grid_shape(4, 0), Error);
  EXPECT_THROW(grid_shape(4, 8), Error);
  EXPECT_EQ(grid_shape(4, 2).replicas, 2);
}

}  // namespace
}  // namespace mpiquant
