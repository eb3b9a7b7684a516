#include "io/work_lease.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/json.h"

namespace mpiquant {
namespace {

constexpr std::chrono::milliseconds kPatience{200};

class LeaseTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove(path_); }
  void TearDown() override { std::filesystem::remove(path_); }
  // Leaves a lease as another holder would.
  void leave(const Json& changes) const {
    Json holder;
    {
      const WorkLease mine(path_, false, kPatience);
      holder = parse_json(read_text_file(path_), path_);
    }
    holder.update(changes);
    write_text_file(path_, holder.dump());
  }
  std::string refusal(bool force = false) const {
    try {
      const WorkLease second(path_, force, kPatience);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  }
  std::string path_ = testing::TempDir() + "/lease-" + std::to_string(getpid()) + ".json";
};

TEST_F(LeaseTest, OneHolderAtATime) {
  {
    const WorkLease first(path_, false, kPatience);
    EXPECT_NE(refusal().find(std::to_string(getpid())), std::string::npos);
  }
  EXPECT_EQ(path_kind(path_), PathKind::kNothing);
  EXPECT_EQ(refusal(), "");
}

TEST_F(LeaseTest, AHolderOnAnotherHostKeepsItWhileItRenews) {
  leave({{"host", "elsewhere"}, {"job", "77"}});
  const std::string words = refusal();
  for (const char* word : {"elsewhere", "Slurm job 77", "--force"}) EXPECT_NE(words.find(word), std::string::npos) << words;
  EXPECT_EQ(refusal(true), "");
}

TEST_F(LeaseTest, TheDeadAreFollowed) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  leave({{"pid", child}});  // not waited for yet
  EXPECT_EQ(refusal(), "");
  waitpid(child, nullptr, 0);
  leave({{"pid", child}});
  EXPECT_EQ(refusal(), "");
  leave({{"host", "elsewhere"}, {"renewed", std::time(nullptr) - WorkLease::kLifetime.count() - 5}});
  EXPECT_EQ(refusal(), "");
  leave({{"host", "elsewhere"}, {"renewed", std::time(nullptr) - WorkLease::kLifetime.count() + 60}});
  EXPECT_NE(refusal(), "");
}

TEST_F(LeaseTest, AHolderThatIsEndingIsWaitedFor) {
  const pid_t child = fork();
  if (child == 0) {
    usleep(50'000);
    _exit(0);
  }
  leave({{"pid", child}});
  EXPECT_EQ(refusal(), "");
  waitpid(child, nullptr, 0);
}

TEST_F(LeaseTest, AnotherStartOfTheSameBatchJobGoesOn) {
  setenv("SLURM_JOB_ID", "4711", 1);
  leave({{"host", "elsewhere"}});
  EXPECT_EQ(refusal(), "");
  leave({{"host", "elsewhere"}, {"job", "4712"}});
  EXPECT_NE(refusal(), "");
  unsetenv("SLURM_JOB_ID");
}

}  // namespace
}  // namespace mpiquant
