#include "io/tensor_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <thread>

#include "io/file.h"
#include "io/safetensors_source.h"
#include "tests/io/model_file.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;

std::vector<float> rows(const TensorSource& source, const std::string& name, std::int64_t begin, std::int64_t end,
                        std::size_t count) {
  std::vector<float> out(count);
  source.read_rows(name, begin, end, out);
  return out;
}

TEST(SafetensorsSource, ReadsRowsOfEveryFloatType) {
  for (const char* dtype : {"F32", "F16", "BF16", "F64"}) {
    const TemporaryFolder folder;
    write_model(folder / "model.safetensors", {{"w", dtype, {3, 2}}, {"v", dtype, {4}}, {"s", dtype, {}}, {"e", dtype, {0, 7}}});
    const SafetensorsSource source(folder.path());
    EXPECT_THAT(rows(source, "w", 1, 3, 4), ::testing::ElementsAre(3, 4, 5, 6)) << dtype;
    EXPECT_THAT(rows(source, "w", 1, 1, 0), ::testing::IsEmpty());
    EXPECT_THAT(rows(source, "v", 2, 4, 2), ::testing::ElementsAre(3, 4));
    EXPECT_THAT(rows(source, "s", 0, 1, 1), ::testing::ElementsAre(1));
    EXPECT_THAT(rows(source, "e", 0, 0, 0), ::testing::IsEmpty());
    const auto width = static_cast<std::int64_t>(size_of(*dtype_from_safetensors(dtype)));
    EXPECT_EQ(source.bytes_read(), 7 * width);
    EXPECT_EQ(error_of([&] { rows(source, "w", 0, 4, 8); }).code(), ExitCode::kInternal);
    EXPECT_EQ(error_of([&] { rows(source, "w", 0, 1, 3); }).code(), ExitCode::kInternal);
    EXPECT_EQ(error_of([&] { rows(source, "absent", 0, 1, 3); }).code(), ExitCode::kInput);
  }
}

TEST(SafetensorsSource, LargeTensorsAreConvertedInPieces) {
  const TemporaryFolder folder;
  constexpr std::int64_t kRows = 3000;
  constexpr std::int64_t kCols = 1001;
  write_model(folder / "model.safetensors", {{"w", "F32", {kRows, kCols}}, {"x", "F64", {kRows, kCols}}});
  const SafetensorsSource source(folder.path());
  const std::vector<float> w = rows(source, "w", 1, kRows, (kRows - 1) * kCols);
  EXPECT_EQ(w, rows(source, "x", 1, kRows, (kRows - 1) * kCols));
  EXPECT_EQ(w.back(), static_cast<float>(kRows * kCols));
  EXPECT_EQ(w.front(), static_cast<float>(kCols + 1));
}

TEST(SafetensorsSource, RawBytesAndOtherTypes) {
  const TemporaryFolder folder;
  write_model(folder / "model.safetensors", {{"q", "F8_E4M3", {4, 2}}, {"i", "I64", {2}}, {"w", "BF16", {2}}});
  const SafetensorsSource source(folder.path());
  EXPECT_FALSE(source.at("q").dtype.has_value());
  EXPECT_EQ(source.at("i").dtype, DType::kI64);
  EXPECT_THAT(error_of([&] { rows(source, "q", 0, 1, 2); }).what(), HasSubstr("F8_E4M3"));
  EXPECT_EQ(error_of([&] { rows(source, "i", 0, 1, 1); }).code(), ExitCode::kInput);
  std::uint16_t two = 0;
  source.read_raw("w", 2, std::as_writable_bytes(std::span(&two, 1)));
  EXPECT_EQ(two, f32_to_bf16(2.0F));
  std::vector<std::byte> four(4);
  for (const std::int64_t offset : {std::int64_t{-1}, std::int64_t{1}, std::int64_t{5}, std::numeric_limits<std::int64_t>::max()})
    EXPECT_EQ(error_of([&] { source.read_raw("w", offset, four); }).code(), ExitCode::kInternal) << offset;
}

TEST(SafetensorsSource, ShardsThroughTheIndex) {
  const TemporaryFolder folder;
  write_model(folder / "one.safetensors", {{"a", "F32", {2}}, {"b", "F32", {3}}});
  write_model(folder / "two.safetensors", {{"c", "F16", {2, 2}}, {"a", "F16", {5}}});
  const auto open = [&](const std::string& map) {
    write_text_file(folder / "model.safetensors.index.json", "{\"metadata\":{},\"weight_map\":" + map + "}");
    return std::make_unique<SafetensorsSource>(folder.path());
  };
  const auto source = open(R"({"a":"one.safetensors","c":"two.safetensors"})");
  ASSERT_EQ(source->entries().size(), 2U);
  EXPECT_EQ(source->at("a").dtype_name, "F32");
  EXPECT_THAT(rows(*source, "c", 1, 2, 2), ::testing::ElementsAre(3, 4));
  EXPECT_EQ(source->find("b"), nullptr);

  EXPECT_THAT(error_of([&] { open(R"({"x":"one.safetensors"})"); }).what(), HasSubstr("no tensor \"x\""));
  EXPECT_THAT(error_of([&] { open(R"({"a":"three.safetensors"})"); }).what(), HasSubstr("three.safetensors is missing"));
  for (const char* shard : {"../one.safetensors", "sub/one.safetensors", "/etc/passwd", "..", ".", "", "a\\\\b", "a\\u0000b"})
    EXPECT_THAT(error_of([&] { open(std::string("{\"a\":\"") + shard + "\"}"); }).what(), HasSubstr("plain file name")) << shard;
  EXPECT_EQ(error_of([&] { open("[]"); }).code(), ExitCode::kInput);
  EXPECT_EQ(error_of([&] { open("{\"a\":1}"); }).code(), ExitCode::kInput);
  EXPECT_EQ(error_of([&] { open("{"); }).code(), ExitCode::kInput);
}

TEST(SafetensorsSource, AFolderWithoutWeights) {
  const TemporaryFolder folder;
  const Error error = error_of([&] { SafetensorsSource source(folder.path()); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr("model.safetensors.index.json"));
}

TEST(SafetensorsSource, ManyThreadsReadAtOnce) {
  const TemporaryFolder folder;
  write_model(folder / "model.safetensors", {{"w", "BF16", {128, 64}}});
  const SafetensorsSource source(folder.path());
  const std::vector<float> expected = rows(source, "w", 0, 128, 128 * 64);
  std::vector<std::vector<float>> read(4);
  std::vector<std::thread> threads;
  for (auto& out : read) threads.emplace_back([&] { out = rows(source, "w", 0, 128, 128 * 64); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& out : read) EXPECT_EQ(out, expected);
  EXPECT_EQ(source.bytes_read(), 5 * 128 * 64 * 2);
}

TEST(SafetensorsSource, TheBundledModel) {
  const SafetensorsSource source(bundled_model());
  EXPECT_EQ(source.files().size(), 2U);
  const TensorEntry& head = source.at("lm_head.weight");
  ASSERT_EQ(head.shape.size(), 2U);
  EXPECT_EQ(head.shape[1], 256);
  for (const TensorEntry& entry : source.entries()) {
    std::vector<float> values(static_cast<std::size_t>(element_count(entry.shape)));
    source.read_rows(entry.name, 0, entry.rows(), values);
    EXPECT_EQ(first_non_finite(values), std::nullopt) << entry.name;
    EXPECT_GT(std::abs(values.front()) + std::abs(values.back()), 0) << entry.name;
  }
}

TEST(FirstNonFinite, FindsTheFirst) {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = {0, -1, std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min()};
  EXPECT_EQ(first_non_finite(values), std::nullopt);
  values.push_back(std::nanf(""));
  values.push_back(infinity);
  EXPECT_EQ(first_non_finite(values), 4U);
  values[1] = -infinity;
  EXPECT_EQ(first_non_finite(values), 1U);
}

}  // namespace
}  // namespace mpiquant
