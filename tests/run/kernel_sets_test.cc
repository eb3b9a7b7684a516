#include "src/run/kernel_sets.h"

#include <gtest/gtest.h>

#include "src/comm/thread_comm.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

TEST(KernelSets, OfAllRanksAreNamedOnce) {
  run_on_threads(3, [](Communicator& world) {
    EXPECT_EQ(kernel_sets(world, "a, b", false), "a, b");
    const std::string mine = world.rank() == 1 ? "a" : "b";
    EXPECT_EQ(kernel_sets(world, mine, true), "a + b");
    const Error error = error_of([&] { kernel_sets(world, mine, false); });
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(std::string(error.what()).find("rank 1 has another kernel set"), std::string::npos) << error.what();
  });
}

TEST(KernelSets, AreUnited) {
  EXPECT_EQ(united_kernel_sets("a", "a"), "a");
  EXPECT_EQ(united_kernel_sets("b", "a"), "a + b");
  EXPECT_EQ(united_kernel_sets("a + c", "b + a"), "a + b + c");
}

}  // namespace
}  // namespace mpiquant
