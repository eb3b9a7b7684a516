#include "src/fleet/lease.h"

#include <gmock/gmock.h>
#include <sys/wait.h>

#include "src/fleet/process.h"
#include "src/fleet/state.h"
#include "tests/fleet/fleet_support.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;

std::optional<Lease> take(const std::string& folder) {
  std::string replaced;
  return Lease::take(folder, replaced);
}

TEST(FleetLease, HasOneHolder) {
  const TestFolder folder;
  auto first = take(folder.path("job"));
  ASSERT_TRUE(first);
  EXPECT_THAT(Lease::holder(folder.path("job")), HasSubstr(std::to_string(::getpid())));
  EXPECT_FALSE(take(folder.path("job")));
  first->give_back();
  EXPECT_EQ(Lease::holder(folder.path("job")), "");
  auto second = take(folder.path("job"));
  ASSERT_TRUE(second);
  first->give_back();  // of a lease that was followed by another: changes nothing
  EXPECT_FALSE(take(folder.path("job")));
}

TEST(FleetLease, OfADeadProcessIsTakenOverAndNamed) {
  const TestFolder folder;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(take(folder.path("job")) ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  std::string replaced;
  EXPECT_TRUE(Lease::take(folder.path("job"), replaced));
  EXPECT_THAT(replaced, HasSubstr(fmt::format("process {} on {}", child, host_name())));
}

TEST(FleetLease, OfAnotherHostIsTakenOverAfterLongSilence) {
  const TestFolder folder;
  const auto lease = [&](double age) {
    replace_shared_file(
        folder.path("job/lease.7"),
        Json{{"held", true}, {"host", "elsewhere"}, {"pid", 1}, {"start", 1}, {"time", now_seconds() - age}}.dump());
  };
  lease(60);
  EXPECT_FALSE(take(folder.path("job")));
  lease(3600);
  EXPECT_TRUE(take(folder.path("job")));
}

// Processes take a job again and again; whoever holds it makes a file that must not be there.
TEST(FleetLease, IsExclusiveAmongProcesses) {
  constexpr int kProcesses = 6;
  constexpr int kTurns = 12;
  const TestFolder folder;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    for (int turns = 0; turns < kTurns;) {
      auto lease = take(folder.path("job"));
      if (!lease) continue;
      if (!create_shared_file(folder.path("inside"), "x")) ::_exit(1);
      ::unlink(folder.path("inside").c_str());
      // Some die while they hold it.
      if (p % 3 == 0 && turns == kTurns / 2) ::_exit(0);
      lease->give_back();
      ++turns;
    }
    ::_exit(0);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace mpiquant
