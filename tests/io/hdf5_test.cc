#include "io/hdf5.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <numeric>
#include <thread>

#include "io/file.h"
#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
void write_all(Hdf5Writer& writer, const std::string& name, const Shape& shape, const std::vector<T>& values) {
  writer.write(name, shape, std::span<const T>(values));
}

std::vector<std::string> names_in(const TemporaryFolder& folder) { return list_directory(folder.path()); }

TEST(Hdf5, RoundTripOfEveryType) {
  const TemporaryFolder folder;
  {
    Hdf5Writer writer(folder / "a.h5");
    write_all<std::uint8_t>(writer, "u8", {3}, {0, 7, 255});
    write_all<std::uint16_t>(writer, "u16", {1, 2}, {1, 65535});
    write_all<std::int32_t>(writer, "group/inner/i32", {2, 2}, {-1, 2, -3, 4});
    write_all<std::int64_t>(writer, "group/i64", {1}, {std::int64_t{-1} << 60});
    write_all<float>(writer, "f32", {2, 1, 3}, {0, 1.5F, -0.0F, 1e-40F, 3e38F, 2});
    write_all<float>(writer, "empty", {0, 5}, {});
    writer.attribute("text", "a \xe2\x82\xac");
    writer.attribute("nothing", "");
    EXPECT_THAT(names_in(folder), ElementsAre("a.h5.partial"));
    writer.commit();
  }
  EXPECT_THAT(names_in(folder), ElementsAre("a.h5"));
  const Hdf5Reader reader(folder / "a.h5");
  EXPECT_THAT(reader.read<std::uint8_t>("u8"), ElementsAre(0, 7, 255));
  EXPECT_THAT(reader.read<std::uint16_t>("u16"), ElementsAre(1, 65535));
  EXPECT_THAT(reader.read<std::int32_t>("group/inner/i32"), ElementsAre(-1, 2, -3, 4));
  EXPECT_THAT(reader.read<std::int64_t>("group/i64"), ElementsAre(std::int64_t{-1} << 60));
  EXPECT_THAT(reader.read<float>("f32"), ElementsAre(0, 1.5F, -0.0F, 1e-40F, 3e38F, 2));
  EXPECT_THAT(reader.read<float>("empty"), ElementsAre());
  EXPECT_EQ(reader.shape("f32"), (Shape{2, 1, 3}));
  EXPECT_EQ(reader.shape("empty"), (Shape{0, 5}));
  EXPECT_EQ(reader.type("u16"), Hdf5Type::kU16);
  EXPECT_EQ(reader.attribute("text"), "a \xe2\x82\xac");
  EXPECT_EQ(reader.attribute("nothing"), "");
  EXPECT_TRUE(reader.has("group/i64"));
  EXPECT_FALSE(reader.has("group/u8"));
  EXPECT_FALSE(reader.has("absent/u8"));
  EXPECT_TRUE(reader.has_attribute("text"));
  EXPECT_FALSE(reader.has_attribute("u8"));
}

TEST(Hdf5, RowsAreWrittenAndReadInPieces) {
  const TemporaryFolder folder;
  constexpr std::int64_t kRows = 700;
  constexpr std::int64_t kCols = 1000;  // several chunks
  std::vector<float> values(kRows * kCols);
  std::iota(values.begin(), values.end(), 0.0F);
  {
    Hdf5Writer writer(folder / "a.h5");
    writer.create("x", Hdf5Type::kF32, {kRows + 1, kCols});
    for (std::int64_t row = 0; row < kRows; row += 7)
      writer.write_rows<float>("x", row, std::span(values).subspan(static_cast<std::size_t>(row * kCols), 7 * kCols));
    const std::span<const float> two = std::span(values).subspan(0, 2 * kCols);
    EXPECT_EQ(error_of([&] { writer.write_rows("x", kRows, two); }).code(), ExitCode::kInternal);
    EXPECT_EQ(error_of([&] { writer.write_rows("x", -1, two); }).code(), ExitCode::kInternal);
    EXPECT_EQ(error_of([&] { writer.write_rows("x", 0, two.subspan(1)); }).code(), ExitCode::kInternal);
    EXPECT_EQ(error_of([&] { writer.write_rows("y", 0, two); }).code(), ExitCode::kInternal);
    EXPECT_EQ(error_of([&] { writer.create("x", Hdf5Type::kF32, {1}); }).code(), ExitCode::kInternal);
    writer.commit();
  }
  const Hdf5Reader reader(folder / "a.h5");
  std::vector<float> part(3 * kCols);
  reader.read_rows<float>("x", 500, part);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), values.begin() + 500 * kCols));
  std::vector<float> all = reader.read<float>("x");
  EXPECT_TRUE(std::equal(values.begin(), values.end(), all.begin()));
  EXPECT_TRUE(std::all_of(all.begin() + kRows * kCols, all.end(), [](float x) { return x == 0; }));
  EXPECT_EQ(error_of([&] { reader.read_rows<float>("x", kRows - 1, part); }).code(), ExitCode::kInternal);
}

TEST(Hdf5, OtherTypesAndNamesAreInputErrors) {
  const TemporaryFolder folder;
  Hdf5Writer writer(folder / "a.h5");
  write_all<std::int32_t>(writer, "x", {1}, {1});
  writer.commit();
  const Hdf5Reader reader(folder / "a.h5");
  EXPECT_EQ(error_of([&] { reader.read<std::int64_t>("x"); }).code(), ExitCode::kInput);
  EXPECT_EQ(error_of([&] { reader.read<float>("x"); }).code(), ExitCode::kInput);
  EXPECT_THAT(error_of([&] { reader.read<float>("y"); }).what(), HasSubstr("dataset y"));
  EXPECT_THAT(error_of([&] { reader.attribute("y"); }).what(), HasSubstr("attribute y"));
}

TEST(Hdf5, EqualContentGivesEqualFiles) {
  const TemporaryFolder folder;
  for (const char* name : {"a.h5", "b.h5"}) {
    Hdf5Writer writer(folder / name);
    write_all<float>(writer, "layer/x", {2, 2}, {1, 2, 3, 4});
    writer.attribute("key", "value");
    writer.commit();
    std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5 stores times in seconds
  }
  EXPECT_EQ(hash_file_xxh3(folder / "a.h5"), hash_file_xxh3(folder / "b.h5"));
}

TEST(Hdf5, AnUncommittedFileDisappears) {
  const TemporaryFolder folder;
  write_text_file(folder / "a.h5", "the old one");
  {
    Hdf5Writer writer(folder / "a.h5");
    write_all<float>(writer, "x", {1}, {1});
    Hdf5Writer moved = std::move(writer);
  }
  EXPECT_THAT(names_in(folder), ElementsAre("a.h5"));
  EXPECT_EQ(read_text_file(folder / "a.h5"), "the old one");
}

TEST(Hdf5, DamagedFilesAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  std::vector<std::int64_t> values(5000);
  std::iota(values.begin(), values.end(), 0x1234567800000000);
  {
    Hdf5Writer writer(path);
    write_all(writer, "x", {5000}, values);
    writer.commit();
  }
  const std::string good = read_text_file(path);
  EXPECT_EQ(Hdf5Reader(path).read<std::int64_t>("x"), values);

  // A flipped bit in the middle of the data is found by its sum.
  std::string bad = good;
  const std::string middle(reinterpret_cast<const char*>(&values[2500]), 8);
  const std::size_t at = good.find(middle);
  ASSERT_NE(at, std::string::npos);
  bad[at] = static_cast<char>(bad[at] ^ 1);
  write_text_file(path, bad);
  const Error error = error_of([&] { Hdf5Reader(path).read<std::int64_t>("x"); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr(path));
  EXPECT_THAT(error.what(), HasSubstr("checksum"));

  for (const std::size_t size : {std::size_t{0}, std::size_t{100}, good.size() / 2, good.size() - 1}) {
    write_text_file(path, good.substr(0, size));
    EXPECT_EQ(error_of([&] { Hdf5Reader(path).read<std::int64_t>("x"); }).code(), ExitCode::kInput) << size;
  }
  EXPECT_EQ(error_of([&] { Hdf5Reader(folder / "absent"); }).code(), ExitCode::kInput);
}

TEST(Hdf5, AFailedWriteIsAnEnvironmentErrorThatNamesTheFile) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { Hdf5Writer(folder / "no/a.h5"); }).what(), HasSubstr("no/a.h5.partial"));

  // A process whose files may not grow past 64 KiB, as on a full disk.
  const auto write_too_much = [&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {65536, 65536};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) std::exit(1);
    try {
      Hdf5Writer writer(folder / "big.h5");
      write_all<float>(writer, "x", {1 << 20}, std::vector<float>(1 << 20, 1));
      writer.commit();
    } catch (const Error& error) {
      std::fprintf(stderr, "%s\n", error.what());
      std::exit(static_cast<int>(error.code()));
    }
    std::exit(0);
  };
  EXPECT_EXIT(write_too_much(), ::testing::ExitedWithCode(static_cast<int>(ExitCode::kEnvironment)),
              "big.h5.partial .File too large");
  EXPECT_FALSE(std::filesystem::exists(folder / "big.h5"));
}

}  // namespace
// The library is not thread-safe; threads with files of their own take turns.
TEST(Hdf5, ThreadsWriteAndReadTheirOwnFiles) {
  const TemporaryFolder folder;
  constexpr int kThreads = 4, kDatasets = 20;
  std::vector<std::thread> threads;
  std::array<bool, kThreads> same{};
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      const std::string path = folder / std::to_string(t);
      std::vector<std::int32_t> values(5000);
      std::iota(values.begin(), values.end(), 1000 * t);
      Hdf5Writer writer(path);
      for (int d = 0; d < kDatasets; ++d) writer.write<std::int32_t>(fmt::format("group/{}", d), {50, 100}, values);
      writer.commit();
      const Hdf5Reader reader(path);
      same.at(static_cast<std::size_t>(t)) = true;
      for (int d = 0; d < kDatasets; ++d)
        if (reader.read<std::int32_t>(fmt::format("group/{}", d)) != values) same.at(static_cast<std::size_t>(t)) = false;
    });
  for (std::thread& thread : threads) thread.join();
  for (const bool whole : same) EXPECT_TRUE(whole);
}

// The last chunk of a dataset is stored whole, so chunks are of about the same size.
TEST(Hdf5, ChunksWasteLittle) {
  const TemporaryFolder folder;
  const std::vector<float> values(512 * 576, 1.5F);
  Hdf5Writer writer(folder / "a.h5");
  writer.write<float>("x", {512, 576}, values);
  writer.commit();
  EXPECT_LT(std::filesystem::file_size(folder / "a.h5"), 1.02 * 4 * 512 * 576);
}

}  // namespace mpiquant
