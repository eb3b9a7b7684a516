#include "io/file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <vector>

#include "src/base/hash.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;

TEST(File, WritesAndReadsAtOffsets) {
  const TemporaryFolder folder;
  File file = File::create(folder / "a", 10);
  EXPECT_EQ(file.size(), 10);
  file.write_at(4, std::as_bytes(std::span("xyz", 3)));
  file.sync();
  file.close();
  EXPECT_EQ(read_text_file(folder / "a"), std::string("\0\0\0\0xyz\0\0\0", 10));

  File other = File::open_write(folder / "a");
  other.write_at(0, std::as_bytes(std::span("ab", 2)));
  other.close();
  const File again = File::open_read(folder / "a");
  std::string text(5, ' ');
  again.read_at(1, std::as_writable_bytes(std::span(text)));
  EXPECT_EQ(text, std::string("b\0\0xy", 5));
}

TEST(File, CreateEmptiesAnExistingFile) {
  const TemporaryFolder folder;
  write_text_file(folder / "a", "long old text");
  File::create(folder / "a", 3).close();
  EXPECT_EQ(read_text_file(folder / "a"), std::string(3, '\0'));
}

TEST(File, AMissingInputIsAnInputErrorThatNamesIt) {
  const TemporaryFolder folder;
  const Error error = error_of([&] { File::open_read(folder / "absent"); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr(folder / "absent"));
}

TEST(File, ReadingPastTheEndIsAnInputError) {
  const TemporaryFolder folder;
  write_text_file(folder / "a", "12345");
  const File file = File::open_read(folder / "a");
  std::vector<std::byte> out(4);
  file.read_at(1, out);
  const Error error = error_of([&] { file.read_at(2, out); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr("truncated"));
}

TEST(File, AFullDiskIsAnEnvironmentErrorThatNamesTheFile) {
  File file = File::create("/dev/full", 0);
  const Error error = error_of([&] { file.write_at(0, std::as_bytes(std::span("x", 1))); });
  EXPECT_EQ(error.code(), ExitCode::kEnvironment);
  EXPECT_THAT(error.what(), HasSubstr("/dev/full"));
  EXPECT_THAT(error.what(), HasSubstr("No space left"));
  EXPECT_THAT(error.what(), HasSubstr("free space"));
}

TEST(File, SpaceIsReservedWhenAFileIsCreated) {
  const TemporaryFolder folder;
  const Error error = error_of([&] { File::create(folder / "huge", std::int64_t{1} << 60); });
  EXPECT_EQ(error.code(), ExitCode::kEnvironment);
  EXPECT_THAT(error.what(), HasSubstr("huge"));
}

TEST(File, AMissingFolderIsAnEnvironmentErrorForWriters) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { File::create(folder / "no/a", 1); }).code(), ExitCode::kEnvironment);
}

TEST(File, FoldersAndPipesAreNoInputs) {
  const TemporaryFolder folder;
  EXPECT_EQ(error_of([&] { File::open_read(folder.path()); }).code(), ExitCode::kInput);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { File::open_read(folder / "pipe"); }).code(), ExitCode::kInput);
}

TEST(File, MovesKeepOneOwner) {
  const TemporaryFolder folder;
  File a = File::create(folder / "a", 0);
  File b = std::move(a);
  b.write_at(0, std::as_bytes(std::span("1", 1)));
  a = File::create(folder / "b", 0);
  std::swap(a, b);
  a.write_at(1, std::as_bytes(std::span("2", 1)));
  a.close();
  b.close();
  EXPECT_EQ(read_text_file(folder / "a"), "12");
  EXPECT_EQ(read_text_file(folder / "b"), "");
}

TEST(File, TextLimit) {
  const TemporaryFolder folder;
  write_text_file(folder / "a", "12345");
  EXPECT_EQ(read_text_file(folder / "a", 5), "12345");
  EXPECT_EQ(error_of([&] { read_text_file(folder / "a", 4); }).code(), ExitCode::kInput);
}

TEST(File, ReplacingLeavesOnlyTheNewText) {
  const TemporaryFolder folder;
  write_text_file(folder / "a", "a long old text");
  replace_text_file(folder / "a", "new");
  EXPECT_EQ(read_text_file(folder / "a"), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(File, Hashes) {
  const TemporaryFolder folder;
  write_text_file(folder / "a", "abc");
  EXPECT_EQ(hash_file_sha256(folder / "a"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hash_file_xxh3(folder / "a"), "06b05ab6733a618578af5f94892f3950");
  write_text_file(folder / "empty", "");
  EXPECT_EQ(hash_file_sha256(folder / "empty"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  // Longer than one chunk of reading.
  const std::string text(std::size_t{9} << 20, 'q');
  write_text_file(folder / "long", text);
  EXPECT_EQ(hash_file_sha256(folder / "long"), sha256_hex(text));
}

}  // namespace
}  // namespace mpiquant
