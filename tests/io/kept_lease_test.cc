#include "io/kept_lease.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ctime>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/json.h"
#include "src/base/process_id.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

constexpr std::chrono::milliseconds kPatience{200};

class KeptLeaseTest : public testing::Test {
 protected:
  // Leaves a lease as another holder would.
  void leave(const Json& changes) const {
    Json holder;
    {
      const KeptLease mine(folder_.path(), false, kPatience);
      holder = parse_json(read_text_file(path_), path_);
    }
    holder.update(changes);
    write_text_file(path_, holder.dump());
  }
  std::string refusal(bool force = false) const {
    try {
      const KeptLease second(folder_.path(), force, kPatience);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  }
  TemporaryFolder folder_;
  std::string path_ = folder_ / "lease.1";
};

TEST_F(KeptLeaseTest, OneHolderAtATime) {
  {
    const KeptLease first(folder_.path(), false, kPatience);
    EXPECT_NE(refusal().find(std::to_string(getpid())), std::string::npos);
  }
  EXPECT_TRUE(list_directory(folder_.path()).empty());
  EXPECT_EQ(refusal(), "");
}

TEST_F(KeptLeaseTest, AHolderOnAnotherHostKeepsItWhileItRenews) {
  leave({{"host", "elsewhere"}, {"job", "77"}});
  const std::string words = refusal();
  for (const char* word : {"elsewhere", "Slurm job 77", "--force"}) EXPECT_NE(words.find(word), std::string::npos) << words;
  EXPECT_EQ(refusal(true), "");
}

TEST_F(KeptLeaseTest, TheDeadAreFollowed) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  leave({{"pid", child}, {"start", process_of(child).start}});  // not waited for yet
  EXPECT_EQ(refusal(), "");
  waitpid(child, nullptr, 0);
  leave({{"pid", child}, {"start", process_of(child).start}});
  EXPECT_EQ(refusal(), "");
  leave({{"host", "elsewhere"}, {"renewed", std::time(nullptr) - Lease::kLifetime.count() - 5}});
  EXPECT_EQ(refusal(), "");
  leave({{"host", "elsewhere"}, {"renewed", std::time(nullptr) - Lease::kLifetime.count() + 60}});
  EXPECT_NE(refusal(), "");
}

TEST_F(KeptLeaseTest, AHolderThatIsEndingIsWaitedFor) {
  const pid_t child = fork();
  if (child == 0) {
    usleep(50'000);
    _exit(0);
  }
  leave({{"pid", child}, {"start", process_of(child).start}});
  EXPECT_EQ(refusal(), "");
  waitpid(child, nullptr, 0);
}

TEST_F(KeptLeaseTest, AnotherStartOfTheSameBatchJobGoesOn) {
  setenv("SLURM_JOB_ID", "4711", 1);
  leave({{"host", "elsewhere"}});
  EXPECT_EQ(refusal(), "");
  leave({{"host", "elsewhere"}, {"job", "4712"}});
  EXPECT_NE(refusal(), "");
  unsetenv("SLURM_JOB_ID");
}

}  // namespace
}  // namespace mpiquant
