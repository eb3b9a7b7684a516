#include "io/hf_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "io/file.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

class HfCache : public ::testing::Test {
 protected:
  void SetUp() override {
    const fs::path repository = fs::path(cache()) / "models--org--some.model-1";
    fs::create_directories(repository / "refs" / "pr");
    fs::create_directories(repository / "snapshots" / kCommit);
    write_text_file((repository / "refs" / "main").string(), kCommit);
    write_text_file((repository / "refs" / "pr" / "1").string(), std::string(kCommit) + "\n");
    write_text_file((repository / "refs" / "evil").string(), "../../../..");
  }
  std::string cache() const { return folder_.path(); }

  TemporaryFolder folder_;
};

TEST_F(HfCache, FindsTheMainRevision) {
  const ModelLocation location = resolve_model("org/some.model-1", cache());
  EXPECT_EQ(location.directory, cache() + "/models--org--some.model-1/snapshots/" + kCommit);
  EXPECT_EQ(location.name, "org/some.model-1");
  EXPECT_EQ(location.revision, kCommit);
}

TEST_F(HfCache, FindsOtherRevisions) {
  EXPECT_EQ(resolve_model("org/some.model-1@pr/1", cache()).revision, kCommit);
  EXPECT_EQ(resolve_model(std::string("org/some.model-1@") + kCommit, cache()).revision, kCommit);
}

TEST_F(HfCache, SaysHowToFetch) {
  const Error error = error_of([&] { resolve_model("org/other", cache()); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr("hf download org/other"));
  EXPECT_THAT(error_of([&] { resolve_model("org/some.model-1@v2", cache()); }).what(),
              HasSubstr("hf download org/some.model-1 --revision v2"));
}

TEST_F(HfCache, ADirectoryComesFirst) {
  fs::create_directories(folder_ / "my-model");
  EXPECT_EQ(resolve_model(folder_ / "my-model", cache()).name, "my-model");
  EXPECT_EQ(resolve_model(folder_ / "my-model/", cache()).name, "my-model");
  EXPECT_EQ(resolve_model(folder_ / "my-model/.", cache()).name, "my-model");
  EXPECT_EQ(resolve_model(folder_ / "my-model", cache()).revision, "");
}

TEST_F(HfCache, NothingOutsideTheCacheIsReached) {
  fs::create_directories(folder_ / "snapshots");
  for (const char* id :
       {"org/..", "../org", "org/some.model-1@..", "org/some.model-1@../../..", "/absent/dir", "a/b/c", "model", ""})
    EXPECT_EQ(error_of([&] { resolve_model(id, cache()); }).code(), ExitCode::kInput) << id;
  EXPECT_THAT(error_of([&] { resolve_model("org/some.model-1@evil", cache()); }).what(), HasSubstr("does not hold a commit"));
}

TEST_F(HfCache, AFileIsNoModel) {
  write_text_file(folder_ / "weights.bin", "");
  EXPECT_THAT(error_of([&] { resolve_model(folder_ / "weights.bin", cache()); }).what(), HasSubstr("is a file"));
}

TEST(HfToken, IsWhereTheHubsToolsKeepIt) {
  for (const char* name : {"HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"}) ::unsetenv(name);
  ::setenv("HOME", "/home/a", 1);
  EXPECT_EQ(hf_token_file(), "/home/a/.cache/huggingface/token");
  ::setenv("XDG_CACHE_HOME", "/cache", 1);
  EXPECT_EQ(hf_token_file(), "/cache/huggingface/token");
  ::setenv("HF_HOME", "/hf", 1);
  EXPECT_EQ(hf_token_file(), "/hf/token");
  ::setenv("HF_TOKEN_PATH", "/secret", 1);
  EXPECT_EQ(hf_token_file(), "/secret");
}

TEST(HubId, IsOrganizationAndName) {
  for (const char* id : {"org/name", "a/b-1.2_c"}) EXPECT_TRUE(is_hub_id(id)) << id;
  for (const char* text : {"", "name", "/name", "org/", "org/name/more", "../x", "org/..", "-x/y", "org/a b"})
    EXPECT_FALSE(is_hub_id(text)) << text;
}

}  // namespace
}  // namespace mpiquant
