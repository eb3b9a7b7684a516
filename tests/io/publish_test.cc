#include "io/publish.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>

#include "io/file.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::vector<std::string> listing(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(StagedDirectory, AppearsWhenPublished) {
  const TemporaryFolder folder;
  {
    StagedDirectory staged = StagedDirectory::create(folder / "out/", false, "7");
    EXPECT_THAT(listing(folder.path()), ElementsAre(".out.partial-7"));
    fs::create_directories(staged.path() + "/sub");
    write_text_file(staged.path() + "/sub/a", "1");
    staged.publish();
  }
  EXPECT_THAT(listing(folder.path()), ElementsAre("out"));
  EXPECT_EQ(read_text_file(folder / "out/sub/a"), "1");
}

TEST(StagedDirectory, LeavesNothingWhenTheRunFails) {
  const TemporaryFolder folder;
  {
    std::optional<StagedDirectory> staged;
    staged.emplace(StagedDirectory::create(folder / "out", false, "7"));
    write_text_file(staged->path() + "/a", "1");
  }
  EXPECT_THAT(listing(folder.path()), ElementsAre());
}

TEST(StagedDirectory, AKeptFolderIsResumedOrEmptied) {
  const TemporaryFolder folder;
  {
    StagedDirectory staged = StagedDirectory::create(folder / "out", false, "7");
    write_text_file(staged.path() + "/a", "1");
    staged.keep(true);
  }
  {
    StagedDirectory staged = StagedDirectory::resume(folder / "out", false, "7");
    EXPECT_THAT(listing(staged.path()), ElementsAre("a"));
    staged.keep(true);
  }
  const StagedDirectory staged = StagedDirectory::create(folder / "out", false, "7");
  EXPECT_THAT(listing(staged.path()), ElementsAre());
}

TEST(StagedDirectory, AnExistingOutputNeedsForce) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "out/old");
  EXPECT_EQ(error_of([&] { StagedDirectory::create(folder / "out", false, "7"); }).code(), ExitCode::kUsage);
  EXPECT_THAT(error_of([&] { check_output_free(folder / "out/", false); }).what(), HasSubstr("--force"));
  EXPECT_THAT(listing(folder.path()), ElementsAre("out"));

  StagedDirectory staged = StagedDirectory::create(folder / "out", true, "7");
  write_text_file(staged.path() + "/new", "1");
  EXPECT_TRUE(fs::exists(folder / "out/old"));
  staged.publish();
  EXPECT_THAT(listing(folder / "out"), ElementsAre("new"));
  EXPECT_THAT(listing(folder.path()), ElementsAre("out"));
}

TEST(StagedDirectory, AnOutputThatAppearsMeanwhileIsKept) {
  const TemporaryFolder folder;
  {
    StagedDirectory staged = StagedDirectory::create(folder / "out", false, "7");
    fs::create_directories(folder / "out/other");
    EXPECT_EQ(error_of([&] { staged.publish(); }).code(), ExitCode::kUsage);
  }
  EXPECT_THAT(listing(folder / "out"), ElementsAre("other"));
  EXPECT_THAT(listing(folder.path()), ElementsAre("out"));
}

TEST(StagedDirectory, AStaleSetAsideFolderDoesNotBlock) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "out/old");
  fs::create_directories(folder / ".out.replaced-7/stale");
  StagedDirectory staged = StagedDirectory::create(folder / "out", true, "7");
  staged.publish();
  EXPECT_THAT(listing(folder.path()), ElementsAre("out"));
  EXPECT_THAT(listing(folder / "out"), ElementsAre());
}

TEST(StagedDirectory, AFailedPublishKeepsTheOldOutput) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "out/old");
  StagedDirectory staged = StagedDirectory::create(folder / "out", true, "7");
  fs::remove_all(staged.path());
  EXPECT_EQ(error_of([&] { staged.publish(); }).code(), ExitCode::kEnvironment);
  EXPECT_THAT(listing(folder / "out"), ElementsAre("old"));
}

TEST(StagedDirectory, BadPlacesAreRefused) {
  const TemporaryFolder folder;
  write_text_file(folder / "file", "");
  EXPECT_EQ(error_of([&] { check_output_free(folder / "no/out", false); }).code(), ExitCode::kEnvironment);
  EXPECT_EQ(error_of([&] { check_output_free(folder / "file", true); }).code(), ExitCode::kUsage);
  EXPECT_EQ(error_of([&] { check_output_free("", true); }).code(), ExitCode::kUsage);
  EXPECT_EQ(error_of([&] { check_output_free("/", true); }).code(), ExitCode::kUsage);
  EXPECT_EQ(error_of([&] { StagedDirectory::create(folder / "out", false, "../x"); }).code(), ExitCode::kInternal);
}

TEST(StagedDirectory, TheInputIsNeverTouched) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "model/sub");
  fs::create_directory_symlink(folder / "model", folder / "link");
  for (const char* output : {"model", "model/out", "model/sub/../out", "link/out", "."})
    EXPECT_EQ(error_of([&] { check_output_apart(folder / output, folder / "model"); }).code(), ExitCode::kUsage) << output;
  EXPECT_EQ(error_of([&] { check_output_apart(folder / "model/out", folder / "link"); }).code(), ExitCode::kUsage);
  for (const char* output : {"out", "model-out", "mod"})
    EXPECT_NO_THROW(check_output_apart(folder / output, folder / "model")) << output;
}

TEST(StagedDirectory, LeftoversOfOtherRunsAreListed) {
  const TemporaryFolder folder;
  for (const char* name : {".out.partial-1", ".out.partial-7", ".out.replaced-2", ".other.partial-1", ".out2.partial-1"})
    fs::create_directories(folder / name);
  EXPECT_THAT(leftover_folders(folder / "out", "7"), ElementsAre(folder / ".out.partial-1", folder / ".out.replaced-2"));
}

}  // namespace
}  // namespace mpiquant
