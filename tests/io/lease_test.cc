#include "io/lease.h"

#include <gmock/gmock.h>
#include <sys/wait.h>

#include "io/shared_file.h"
#include "src/base/process_id.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;

std::optional<Lease> take(const std::string& folder) { return Lease::take(folder).lease; }

TEST(Lease, HasOneHolder) {
  const TemporaryFolder folder;
  auto first = take(folder / "job");
  ASSERT_TRUE(first);
  EXPECT_THAT(Lease::holder(folder / "job"), HasSubstr(std::to_string(::getpid())));
  EXPECT_FALSE(take(folder / "job"));
  first->give_back();
  EXPECT_EQ(Lease::holder(folder / "job"), "");
  auto second = take(folder / "job");
  ASSERT_TRUE(second);
  first->give_back();  // of a lease that was followed by another: changes nothing
  EXPECT_FALSE(take(folder / "job"));
}

TEST(Lease, OfADeadProcessIsTakenOverAndNamed) {
  const TemporaryFolder folder;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(take(folder / "job") ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  const Lease::Taken taken = Lease::take(folder / "job");
  EXPECT_TRUE(taken.lease);
  EXPECT_THAT(taken.other, HasSubstr(fmt::format("process {} on {}", child, host_name())));
}

TEST(Lease, OfAnotherHostIsTakenOverAfterLongSilence) {
  const TemporaryFolder folder;
  const auto lease = [&](double age) {
    replace_shared_file(folder / "job/lease.7", Json{{"held", true},
                                                     {"host", "elsewhere"},
                                                     {"pid_namespace", "4"},
                                                     {"job", "77"},
                                                     {"pid", 1},
                                                     {"start", 1},
                                                     {"began", 0},
                                                     {"renewed", now_seconds() - age}}
                                                    .dump());
  };
  lease(60);
  EXPECT_FALSE(take(folder / "job"));
  lease(3600);
  EXPECT_TRUE(take(folder / "job"));
}

TEST(Lease, ThatIsAliveIsBrokenByForceAlone) {
  const TemporaryFolder folder;
  auto first = take(folder / "job");
  ASSERT_TRUE(first);
  EXPECT_FALSE(Lease::take(folder / "job").lease);
  const Lease::Taken second = Lease::take(folder / "job", true);
  EXPECT_TRUE(second.lease);
  EXPECT_THAT(second.other, HasSubstr("--force"));
  first->give_back();  // changes nothing
  EXPECT_NE(Lease::holder(folder / "job"), "");
}

TEST(Lease, WhoseFileIsDamagedIsAnInputError) {
  const TemporaryFolder folder;
  for (const char* text : {R"({"held": true})", R"({"held": 1, "host": 2})", "[]"}) {
    replace_shared_file(folder / "job/lease.1", text);
    try {
      take(folder / "job");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kInput);
      EXPECT_THAT(error.what(), HasSubstr("lease.1"));
    }
  }
}

// Processes take a job again and again; whoever holds it makes a file that must not be there.
TEST(Lease, IsExclusiveAmongProcesses) {
  constexpr int kProcesses = 6;
  constexpr int kTurns = 12;
  const TemporaryFolder folder;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t child = ::fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    for (int turns = 0; turns < kTurns;) {
      auto lease = take(folder / "job");
      if (!lease) continue;
      if (!create_shared_file(folder / "inside", "x")) ::_exit(1);
      ::unlink((folder / "inside").c_str());
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
