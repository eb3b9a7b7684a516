#include "io/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "io/file.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr const char* kOfAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

TEST(Manifest, DescribesAFolderForSha256sum) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "sub");
  write_text_file(folder / "b file", "abc");
  write_text_file(folder / "sub/a", "");
  write_manifest(folder.path(), sum_directory(folder.path()));
  EXPECT_EQ(read_text_file(folder / kManifestName),
            std::string(kOfAbc) + "  b file\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  sub/a\n");
  EXPECT_THAT(manifest_problems(folder.path()), ElementsAre());
  EXPECT_NO_THROW(verify_manifest(folder.path()));
  EXPECT_EQ(std::system(("cd '" + folder.path() + "' && sha256sum --strict --quiet -c SHA256SUMS").c_str()), 0);
}

TEST(Manifest, ChangesAreFound) {
  const TemporaryFolder folder;
  for (const char* name : {"changed", "gone", "same"}) write_text_file(folder / name, "abc");
  write_manifest(folder.path(), sum_directory(folder.path()));
  write_text_file(folder / "changed", "abd");
  fs::remove(folder / "gone");
  write_text_file(folder / "new", "");
  EXPECT_THAT(manifest_problems(folder.path()),
              ElementsAre("changed: content differs", "gone: missing", "new: not in the manifest"));
  const Error error = error_of([&] { verify_manifest(folder.path()); });
  EXPECT_EQ(error.code(), ExitCode::kCorrupt);
  EXPECT_THAT(error.what(), HasSubstr("changed: content differs"));
}

TEST(Manifest, DamagedManifestsAreRefused) {
  const std::string digest = kOfAbc;
  EXPECT_EQ(parse_manifest(digest + "  a\n" + digest + " *b c\n", "m").size(), 2U);
  EXPECT_TRUE(parse_manifest("", "m").empty());
  for (const std::string& text : {digest + "  a", digest + " a\n", digest.substr(1) + "  a\n", digest + "  \n", std::string("\n"),
                                  digest + "  ../a\n", digest + "  /a\n", digest + "  a/../../b\n", digest + "  a\\nb\n",
                                  digest + "  a\n" + digest + "  a\n", "B" + digest.substr(1) + "  a\n"})
    EXPECT_EQ(error_of([&] { parse_manifest(text, "m"); }).code(), ExitCode::kInput) << text;
}

TEST(Manifest, NamesThatNeedEscapesAreNotWritten) {
  const TemporaryFolder folder;
  for (const char* name : {"a\nb", "a\\b", "../a", ""})
    EXPECT_EQ(error_of([&] { write_manifest(folder.path(), {{name, kOfAbc}}); }).code(), ExitCode::kInternal);
  EXPECT_EQ(error_of([&] { write_manifest(folder.path(), {{"a", "123"}}); }).code(), ExitCode::kInternal);
}

}  // namespace
}  // namespace mpiquant
