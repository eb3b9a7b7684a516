#include "src/fleet/process.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <thread>

#include "io/file.h"
#include "tests/fleet/fleet_support.h"

namespace mpiquant {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Not;
using ::testing::StartsWith;

TEST(FleetProcess, WordsReachTheProgramAsTheyAre) {
  const CommandResult result = run_command({"printf", "%s\n", "a b", "$(id)", "'\"", "*"}, job_environment({}));
  EXPECT_EQ(result.code, 0);
  EXPECT_EQ(result.output, "a b\n$(id)\n'\"\n*\n");
}

TEST(FleetProcess, TellsCodesSignalsAndErrors) {
  EXPECT_EQ(run_command({"sh", "-c", "echo no >&2; exit 3"}, job_environment({})).code, 3);
  EXPECT_EQ(run_command({"sh", "-c", "echo no >&2; exit 3"}, job_environment({})).errors, "no\n");
  EXPECT_EQ(run_command({"sh", "-c", "kill -KILL $$"}, job_environment({})).code, 137);
  EXPECT_THROW(run_command({"/no/such/program"}, job_environment({})), Error);
}

TEST(FleetProcess, WhatIsShownGoesToStandardErrorAndTheCodeComesBack) {
  ::setenv("NAMED", "gone", 1);
  ::setenv("KEPT", "kept", 1);
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_shown({"sh", "-c", "echo out; echo \"[$NAMED][$KEPT]\" >&2; exit 3"}, environment_without({"NAMED"}),
                      [] { return false; }),
            3);
  EXPECT_EQ(run_shown({"sh", "-c", "kill -KILL $$"}, job_environment({}), [] { return false; }), 137);
  EXPECT_EQ(run_shown({"sleep", "60"}, job_environment({}), [] { return true; }), 143);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "out\n[][kept]\n");
  EXPECT_TRUE(is_in_path("sh"));
  EXPECT_FALSE(is_in_path("no-such-program-anywhere"));
}

TEST(FleetProcess, SecretsStayBehind) {
  ::setenv("HF_TOKEN", "hf_secret", 1);
  ::setenv("SOME_API_KEY", "secret", 1);
  ::setenv("PLAIN", "yes", 1);
  const std::vector<std::string> environment = job_environment({{"PLAIN", "no"}});
  EXPECT_THAT(environment, Each(Not(StartsWith("HF_TOKEN="))));
  EXPECT_THAT(environment, Each(Not(StartsWith("SOME_API_KEY="))));
  EXPECT_THAT(environment, Contains("PLAIN=no"));
  EXPECT_THAT(environment, Not(Contains("PLAIN=yes")));
}

bool ends(const ProcessId& process) {
  for (int i = 0; i < 500 && alive(process); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !alive(process);
}

TEST(FleetProcess, AHeldProcessWaitsForItsWord) {
  const TestFolder folder;
  const std::vector<std::string> command = {"sh", "-c", "read -r word || exit 1; echo \"$word\""};
  {
    HeldProcess process(command, job_environment({}), folder.path("log"));
    EXPECT_TRUE(alive(process.id()));
    process.go();
    EXPECT_TRUE(ends(process.id()));
    EXPECT_EQ(read_text_file(folder.path("log")), "go\n");
  }
  ProcessId id;
  {
    const HeldProcess process(command, job_environment({}), folder.path("log"));
    id = process.id();
  }
  EXPECT_TRUE(ends(id));
  EXPECT_EQ(read_text_file(folder.path("log")), "go\n");
}

TEST(FleetProcess, ALaterProcessOfTheSameNumberIsAnother) {
  ProcessId own = own_process();
  EXPECT_TRUE(alive(own));
  ++own.start;
  EXPECT_FALSE(alive(own));
}

}  // namespace
}  // namespace mpiquant
