#include "src/comm/collectives.h"

#include <gtest/gtest.h>

#include <new>
#include <string>
#include <vector>

#include "tests/dist/ranks.h"

namespace mpiquant {
namespace {

std::string text_of(int rank) { return std::string(static_cast<std::size_t>(rank) * 3, static_cast<char>('a' + rank)); }

TEST(Collectives, StringsOfAnyLengthReachEveryRank) {
  on_ranks([](Communicator& comm) {
    for (int root = 0; root < comm.size(); ++root)
      EXPECT_EQ(broadcast_string(comm, comm.rank() == root ? text_of(root) : "something else", root), text_of(root));
    const std::vector<std::string> texts = all_gather_strings(comm, text_of(comm.rank()));
    ASSERT_EQ(texts.size(), static_cast<std::size_t>(comm.size()));
    for (int r = 0; r < comm.size(); ++r) EXPECT_EQ(texts[static_cast<std::size_t>(r)], text_of(r));
  });
}

TEST(Collectives, GathersBytesAtTheRootAlone) {
  on_ranks([](Communicator& comm) {
    const int root = comm.size() / 2;
    const std::string mine = text_of(comm.rank());
    const auto pieces = gather_bytes(comm, std::as_bytes(std::span(mine)), root);
    ASSERT_EQ(pieces.size(), comm.rank() == root ? static_cast<std::size_t>(comm.size()) : 0U);
    for (std::size_t r = 0; r < pieces.size(); ++r) EXPECT_EQ(pieces[r].size(), r * 3);
  });
}

// More ranks than items: those without one bring nothing, and take part all the same.
TEST(Collectives, RanksWithoutAnItemTakePart) {
  on_ranks([](Communicator& comm) {
    for (const int items : {0, 1, 2, 5}) {
      std::vector<std::int64_t> mine;
      for (int i = comm.rank(); i < items; i += comm.size()) mine.push_back(i);
      const auto pieces = all_gather_bytes(comm, std::as_bytes(std::span(mine)));
      std::size_t bytes = 0;
      for (const auto& piece : pieces) bytes += piece.size();
      EXPECT_EQ(bytes, static_cast<std::size_t>(items) * 8);
      std::int64_t sum = 0;
      for (const std::int64_t item : mine) sum += item;
      EXPECT_EQ(sum_over(comm, sum), static_cast<std::int64_t>(items) * (items - 1) / 2);
    }
  });
}

TEST(Agree, ReturnsWhenNoRankFailed) {
  on_ranks([](Communicator& comm) { EXPECT_NO_THROW(agree(comm)); });
}

TEST(Agree, EveryRankThrowsTheErrorOfTheOneThatFailed) {
  on_ranks([](Communicator& comm) {
    for (int failing = 0; failing < comm.size(); ++failing) {
      const auto work = [&] {
        if (comm.rank() == failing) fail(ExitCode::kCorrupt, "tensor {} is torn", failing);
      };
      try {
        agree(comm, attempt(work));
        ADD_FAILURE() << "rank " << comm.rank() << " did not learn of the error";
      } catch (const AgreedError& error) {
        EXPECT_EQ(error.code(), ExitCode::kCorrupt);
        EXPECT_EQ(error.what(), "tensor " + std::to_string(failing) + " is torn");
        EXPECT_EQ(error.rank(), failing);
      }
    }
    comm.barrier();
  });
}

TEST(Agree, TheLowestFailingRankSpeaks) {
  on_ranks([](Communicator& comm) {
    const int lowest = comm.size() / 2;
    std::optional<Error> mine;
    if (comm.rank() >= lowest)
      mine = Error(comm.rank() == lowest ? ExitCode::kInput : ExitCode::kGate, "rank " + std::to_string(comm.rank()));
    try {
      agree(comm, mine);
      ADD_FAILURE();
    } catch (const AgreedError& error) {
      EXPECT_EQ(error.code(), ExitCode::kInput);
      EXPECT_EQ(error.what(), "rank " + std::to_string(lowest));
    }
  });
}

TEST(Attempt, TurnsExceptionsIntoErrors) {
  EXPECT_FALSE(attempt([] {}).has_value());
  EXPECT_EQ(attempt([] { throw std::bad_alloc(); })->code(), ExitCode::kEnvironment);
  EXPECT_EQ(attempt([] { throw std::runtime_error("odd"); })->code(), ExitCode::kInternal);
  EXPECT_STREQ(attempt([] { fail(ExitCode::kUsage, "no"); })->what(), "no");
}

}  // namespace
}  // namespace mpiquant
