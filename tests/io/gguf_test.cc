#include "io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;

// Pieces of a hand-made file.
template <typename T>
std::string raw(T value) {
  std::string text(sizeof value, '\0');
  std::memcpy(text.data(), &value, sizeof value);
  return text;
}
std::string text(const std::string& value) { return raw<std::uint64_t>(value.size()) + value; }
std::string start(std::int64_t tensors, std::int64_t values, std::uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(values);
}
std::string tensor(const std::string& name, const std::vector<std::int64_t>& dims, std::int32_t type, std::uint64_t offset) {
  std::string out = text(name) + raw(static_cast<std::uint32_t>(dims.size()));
  for (const std::int64_t extent : dims) out += raw(extent);
  return out + raw(type) + raw(offset);
}
std::string u32_value(const std::string& key, std::uint32_t value) { return text(key) + raw<std::int32_t>(4) + raw(value); }

// Pads a header to 32 bytes and appends data.
std::string with_data(std::string header, std::size_t bytes) {
  header.resize((header.size() + 31) / 32 * 32);
  return header + std::string(bytes, 'd');
}

GgufHeader parse(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text_file(folder / "x.gguf", bytes);
  return parse_gguf(File::open_read(folder / "x.gguf"));
}

std::string message(const std::string& bytes) {
  const Error error = error_of([&] { parse(bytes); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr("x.gguf"));
  return error.what();
}

std::vector<GgufKeyValue> values_of_every_type() {
  return {{"u8", std::uint8_t{255}},
          {"i8", std::int8_t{-128}},
          {"u16", std::uint16_t{65535}},
          {"i16", std::int16_t{-32768}},
          {"u32", std::uint32_t{4294967295U}},
          {"i32", std::int32_t{-5}},
          {"f32", 0.1F},
          {"bool", true},
          {"string", std::string("a\0b\xff", 4)},
          {"u64", std::numeric_limits<std::uint64_t>::max()},
          {"i64", std::numeric_limits<std::int64_t>::min()},
          {"f64", 0.1},
          {"a.u8", std::vector<std::uint8_t>{1, 2}},
          {"a.i8", std::vector<std::int8_t>{-1}},
          {"a.u16", std::vector<std::uint16_t>{}},
          {"a.i16", std::vector<std::int16_t>{-3}},
          {"a.u32", std::vector<std::uint32_t>{7}},
          {"a.i32", std::vector<std::int32_t>{-7, 8}},
          {"a.f32", std::vector<float>{1.5F, -2}},
          {"a.bool", std::vector<bool>{true, false, true}},
          {"a.string", std::vector<std::string>{"", "x", "\xe2\x82\xac"}},
          {"a.u64", std::vector<std::uint64_t>{1ULL << 63}},
          {"a.i64", std::vector<std::int64_t>{-1}},
          {"a.f64", std::vector<double>{0.25}}};
}

std::string as_string(const std::vector<std::byte>& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

void expect_equal(const GgufHeader& read, const std::vector<GgufKeyValue>& values, const std::vector<GgufTensor>& tensors) {
  ASSERT_EQ(read.values.size(), values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(read.values[i].key, values[i].key);
    EXPECT_EQ(read.values[i].value, values[i].value) << values[i].key;
  }
  ASSERT_EQ(read.tensors.size(), tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(read.tensors[i].name, tensors[i].name);
    EXPECT_EQ(read.tensors[i].type, tensors[i].type);
    EXPECT_EQ(read.tensors[i].dims, tensors[i].dims);
    EXPECT_EQ(read.tensors[i].offset, tensors[i].offset) << tensors[i].name;
    EXPECT_EQ(read.tensors[i].bytes, tensors[i].bytes);
  }
}

TEST(Gguf, RoundTripOfEveryValueType) {
  const std::vector<GgufKeyValue> values = values_of_every_type();
  const std::vector<GgufTensor> tensors = {{.name = "w", .type = GgmlType::kQ4_0, .dims = {64, 3}},
                                           {.name = "scalar", .type = GgmlType::kF32, .dims = {}},
                                           {.name = "empty", .type = GgmlType::kF16, .dims = {0, 4}},
                                           {.name = std::string(63, 'n'), .type = GgmlType::kBF16, .dims = {1, 2, 3, 4}}};
  const GgufLayout layout = build_gguf_header(values, tensors);
  EXPECT_EQ(layout.header.size() % 32, 0U);
  EXPECT_EQ(layout.file_bytes, static_cast<std::int64_t>(layout.header.size()) + 128 + 32 + 0 + 64);
  std::string file = as_string(layout.header);
  file.resize(static_cast<std::size_t>(layout.file_bytes));
  const GgufHeader header = parse(file);
  expect_equal(header, values, layout.tensors);
  EXPECT_EQ(header.data_offset, static_cast<std::int64_t>(layout.header.size()));
  EXPECT_EQ(*header.get<std::uint8_t>("u8"), 255);
  EXPECT_EQ(header.get<std::int8_t>("u8"), nullptr);
  EXPECT_EQ(header.find("absent"), nullptr);
  EXPECT_EQ(header.find_tensor("scalar")->bytes, 4);
  EXPECT_EQ(header.find_tensor("absent"), nullptr);
}

TEST(Gguf, TheBytesOfASmallFile) {
  const std::vector<GgufKeyValue> values = {{"general.alignment", std::uint32_t{64}}, {"a", std::vector<std::string>{"b"}}};
  const std::vector<GgufTensor> tensors = {{.name = "v", .type = GgmlType::kF16, .dims = {3}},
                                           {.name = "w", .type = GgmlType::kQ8_0, .dims = {32, 2}}};
  std::string expected = start(2, 2) + u32_value("general.alignment", 64) + text("a") + raw<std::int32_t>(9) +
                         raw<std::int32_t>(8) + raw<std::uint64_t>(1) + text("b") + tensor("v", {3}, 1, 0) +
                         tensor("w", {32, 2}, 8, 64);
  expected.resize((expected.size() + 63) / 64 * 64);
  const GgufLayout layout = build_gguf_header(values, tensors);
  EXPECT_EQ(as_string(layout.header), expected);
  EXPECT_EQ(layout.tensors[1].offset, static_cast<std::int64_t>(expected.size()) + 64);
  EXPECT_EQ(layout.file_bytes, static_cast<std::int64_t>(expected.size()) + 64 + 128);
}

TEST(Gguf, BadLayoutsAreRefused) {
  const auto code = [](const std::vector<GgufKeyValue>& values, const std::vector<GgufTensor>& tensors) {
    return error_of([&] { build_gguf_header(values, tensors); }).code();
  };
  const GgufTensor w = {.name = "w", .type = GgmlType::kF32, .dims = {2}};
  EXPECT_EQ(code({{"a", 1}, {"a", 2}}, {}), ExitCode::kInternal);
  EXPECT_EQ(code({{"", 1}}, {}), ExitCode::kInternal);
  EXPECT_EQ(code({{"general.alignment", 32}}, {}), ExitCode::kInternal);
  EXPECT_EQ(code({{"general.alignment", std::uint32_t{48}}}, {}), ExitCode::kInternal);
  EXPECT_EQ(code({}, {w, w}), ExitCode::kInternal);
  EXPECT_EQ(code({}, {{.name = std::string(64, 'n'), .dims = {2}}}), ExitCode::kInternal);
  EXPECT_EQ(code({}, {{.name = "w", .type = GgmlType::kQ4_0, .dims = {31}}}), ExitCode::kInternal);
  EXPECT_EQ(code({}, {{.name = "w", .dims = {1, 1, 1, 1, 1}}}), ExitCode::kInternal);
}

TEST(Gguf, DamagedStartsAreRefused) {
  ASSERT_NO_THROW(parse(start(0, 0)));
  ASSERT_NO_THROW(parse(start(0, 0, 2)));
  EXPECT_THAT(message(""), HasSubstr("truncated"));
  EXPECT_THAT(message("GGUX" + start(0, 0).substr(4)), HasSubstr("no GGUF file"));
  EXPECT_THAT(message(start(0, 0, 1)), HasSubstr("version 1"));
  EXPECT_THAT(message(start(0, 0, 4)), HasSubstr("version 4"));
  EXPECT_THAT(message(start(0, 0, 3U << 24)), HasSubstr("byte order"));
  constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t count : {std::int64_t{1}, std::int64_t{-1}, kMax, kMax / 24 + 1}) {
    EXPECT_THAT(message(start(count, 0)), HasSubstr("tensors")) << count;
    EXPECT_THAT(message(start(0, count)), HasSubstr("key-values")) << count;
  }
}

TEST(Gguf, DamagedValuesAreRefused) {
  const auto with = [](const std::string& value) { return start(0, 1) + value + std::string(64, '\0'); };
  ASSERT_NO_THROW(parse(with(u32_value("a", 1))));
  EXPECT_THAT(message(with(u32_value("", 1))), HasSubstr("empty"));
  EXPECT_THAT(message(start(0, 2) + u32_value("a", 1) + u32_value("a", 2)), HasSubstr("twice"));
  EXPECT_THAT(message(with(text("a") + raw<std::int32_t>(13))), HasSubstr("unknown type 13"));
  EXPECT_THAT(message(with(text("a") + raw<std::int32_t>(-1))), HasSubstr("unknown type -1"));
  EXPECT_THAT(message(with(text("a") + raw<std::int32_t>(9) + raw<std::int32_t>(9))), HasSubstr("array of arrays"));
  EXPECT_THAT(message(with(text("a") + raw<std::int32_t>(9) + raw<std::int32_t>(13))), HasSubstr("unknown type 13"));
  for (const std::uint64_t size : {std::uint64_t{1000}, std::uint64_t{1} << 61, std::uint64_t{1} << 63, ~std::uint64_t{0}}) {
    EXPECT_THAT(message(with(raw(size))), HasSubstr("bytes of text")) << size;
    EXPECT_THAT(message(with(text("a") + raw<std::int32_t>(8) + raw(size))), HasSubstr("bytes of text")) << size;
    for (const std::int32_t element : {0, 4, 7, 8, 12})
      EXPECT_THAT(message(with(text("a") + raw<std::int32_t>(9) + raw(element) + raw(size))), HasSubstr("array elements"))
          << size;
  }
  EXPECT_THAT(message(with(u32_value("general.alignment", 0))), HasSubstr("power of two"));
  EXPECT_THAT(message(with(u32_value("general.alignment", 33))), HasSubstr("power of two"));
  EXPECT_THAT(message(with(text("general.alignment") + raw<std::int32_t>(5) + raw<std::int32_t>(32))), HasSubstr("power of two"));
}

TEST(Gguf, DamagedTensorsAreRefused) {
  const auto one = [](const std::string& info, std::size_t bytes) { return with_data(start(1, 0) + info, bytes); };
  ASSERT_NO_THROW(parse(one(tensor("w", {32, 2}, 2, 0), 36)));
  EXPECT_THAT(message(one(tensor("w", {32, 2}, 2, 0), 35)), HasSubstr("past the end"));
  EXPECT_THAT(message(one(tensor("w", {33, 2}, 2, 0), 99)), HasSubstr("whole blocks"));
  EXPECT_THAT(message(one(tensor("w", {-32}, 0, 0), 99)), HasSubstr("extents"));
  EXPECT_THAT(message(one(tensor("w", {2, -1}, 0, 0), 99)), HasSubstr("extents"));
  EXPECT_THAT(message(one(tensor("w", {std::int64_t{1} << 40, std::int64_t{1} << 40}, 0, 0), 99)), HasSubstr("extents"));
  EXPECT_THAT(message(one(tensor("w", {std::int64_t{1} << 62}, 0, 0), 99)), HasSubstr("extents"));
  EXPECT_THAT(message(one(tensor("w", {std::int64_t{1} << 60}, 0, 0), 99)), HasSubstr("past the end"));
  EXPECT_THAT(message(one(tensor("w", {1, 1, 1, 1, 1}, 0, 0), 99)), HasSubstr("5 dimensions"));
  EXPECT_THAT(message(one(tensor("w", {1}, 4, 0), 99)), HasSubstr("unknown type 4"));
  EXPECT_THAT(message(one(tensor("w", {1}, 99, 0), 99)), HasSubstr("unknown type 99"));
  EXPECT_THAT(message(one(tensor(std::string(64, 'n'), {1}, 0, 0), 99)), HasSubstr("64 bytes"));
  EXPECT_THAT(message(one(tensor("w", {1}, 0, 32), 99)), HasSubstr("begins at 32"));
  EXPECT_THAT(message(one(tensor("w", {1}, 0, std::uint64_t{1} << 63), 99)), HasSubstr("offset"));

  const auto two = [](const std::string& name, std::uint64_t offset) {
    return with_data(start(2, 0) + tensor("v", {9}, 0, 0) + tensor(name, {1}, 0, offset), 68);
  };
  ASSERT_NO_THROW(parse(two("w", 64)));
  for (const std::uint64_t offset : {0, 32, 36, 65, 96}) EXPECT_THAT(message(two("w", offset)), HasSubstr("not at 64")) << offset;
  EXPECT_THAT(message(two("v", 64)), HasSubstr("twice"));
}

TEST(Gguf, EveryTruncationOfTheHeaderIsRefused) {
  const std::vector<GgufTensor> tensors = {{.name = "w", .type = GgmlType::kF32, .dims = {1}}};
  const GgufLayout layout = build_gguf_header(values_of_every_type(), tensors);
  std::string whole = as_string(layout.header) + "1234";
  ASSERT_NO_THROW(parse(whole));
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(error_of([&] { parse(whole.substr(0, size)); }).code(), ExitCode::kInput);
}

TEST(Gguf, TextFromAFileIsEscapedInMessages) {
  const std::string bad = message(start(0, 2) + u32_value("\x1b[31m\xff", 1) + u32_value("\x1b[31m\xff", 1));
  EXPECT_THAT(bad, HasSubstr("\\u001b[31m"));
  EXPECT_EQ(bad.find('\x1b'), std::string::npos);
}

// A header parsed and built again is the same, to the byte, as other programs write it.
class GgufOfOthers : public ::testing::TestWithParam<const char*> {};

TEST_P(GgufOfOthers, IsReadAndRebuilt) {
  const std::string path = fixture_path(GetParam());
  if (path.empty()) GTEST_SKIP() << "third-party fixtures are absent";
  const File file = File::open_read(path);
  const GgufHeader header = parse_gguf(file);
  EXPECT_NE(header.get<std::string>("general.type") != nullptr || header.get<std::string>("general.architecture") != nullptr,
            false);
  const GgufLayout layout = build_gguf_header(header.values, header.tensors);
  expect_equal(header, header.values, layout.tensors);
  std::vector<std::byte> bytes(std::min(layout.header.size(), static_cast<std::size_t>(file.size())));
  file.read_at(0, bytes);
  // Only the version may differ, and a file without tensors may lack the padding.
  std::memcpy(bytes.data() + 4, layout.header.data() + 4, 4);
  bytes.resize(layout.header.size());
  EXPECT_TRUE(bytes == layout.header);
  const bool vocabulary_only = header.tensors.empty();
  EXPECT_TRUE(vocabulary_only || layout.file_bytes == file.size());
}

INSTANTIATE_TEST_SUITE_P(Peers, GgufOfOthers,
                         ::testing::Values("peer-outputs/gguf/tiny-llama-Q4_K_M-imatrix.gguf", "peer-outputs/gguf/imatrix.gguf",
                                           "tokenizers/vectors/ggml-vocab-gpt-2.gguf",
                                           "tokenizers/vectors/ggml-vocab-llama-spm.gguf"));

}  // namespace
}  // namespace mpiquant
