#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdio>

#include "src/comm/mpi_comm.h"
#include "tests/dist/ranks.h"

namespace mpiquant {
namespace {

MpiSession& session() {
  static MpiSession session;
  return session;
}

// What ranks other than 0 print: their failures.
class FailurePrinter final : public testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (!result.failed()) return;
    fmt::print(stderr, "rank {}: {}:{}: {}\n", rank_, result.file_name() == nullptr ? "?" : result.file_name(),
               result.line_number(), result.message());
  }

 private:
  int rank_;
};

int run_tests() {
  const int rank = session().world(test_options())->rank();
  if (rank != 0) {
    testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new FailurePrinter(rank));
  }
  return RUN_ALL_TESTS();
}

}  // namespace

void on_ranks(const std::function<void(Communicator&)>& body, const CommOptions& options) {
  const auto world = session().world(options);
  try {
    body(*world);
  } catch (const std::exception& error) {
    fmt::print(stderr, "rank {}: {}\n", world->rank(), error.what());
    MpiSession::abort(ExitCode::kInternal);
  }
}

}  // namespace mpiquant

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  return mpiquant::run_tests();
}
