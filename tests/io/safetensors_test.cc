#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "tests/io/fixtures.h"

namespace mpiquant {
namespace {

using ::testing::HasSubstr;

std::string file_bytes(const std::string& json, const std::string& data) {
  const std::uint64_t length = json.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + json + data;
}

SafetensorsHeader parse(const std::string& bytes) {
  const TemporaryFolder folder;
  write_text_file(folder / "x.safetensors", bytes);
  return parse_safetensors_header(File::open_read(folder / "x.safetensors"));
}

// The header of one tensor "w" with the given fields, and eight bytes of data.
SafetensorsHeader parse_w(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return parse(
      file_bytes("{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}", "12345678"));
}

TEST(Safetensors, TheExampleOfTheFormat) {
  const SafetensorsTensor tensor{"a", "U8", {8}};
  const SafetensorsLayout layout = build_safetensors_header(std::span(&tensor, 1));
  EXPECT_EQ(layout.file_bytes, 104);
  ASSERT_EQ(layout.header.size(), 96U);
  const std::string text(reinterpret_cast<const char*>(layout.header.data()), layout.header.size());
  EXPECT_EQ(text, std::string("\x58\0\0\0\0\0\0\0", 8) +
                      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}    )");
  const SafetensorsHeader header = parse(text + "12345678");
  ASSERT_EQ(header.entries.size(), 1U);
  EXPECT_EQ(header.entries[0].name, "a");
  EXPECT_EQ(header.entries[0].dtype, "U8");
  EXPECT_EQ(header.entries[0].shape, Shape{8});
  EXPECT_EQ(header.entries[0].offset, 96);
  EXPECT_EQ(header.entries[0].bytes, 8);
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST(Safetensors, TensorsAreFiledAsTheReferenceWriterDoes) {
  const std::vector<SafetensorsTensor> tensors = {{"b", "F16", {2}},  {"a", "F16", {1}},   {"z", "I32", {1}},
                                                  {"c", "BF16", {1}}, {"y", "F32", {1}},   {"q\"\n", "U8", {3}},
                                                  {"s", "F32", {}},   {"e", "I64", {0, 5}}};
  const SafetensorsLayout layout = build_safetensors_header(tensors, {});
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : layout.entries) names.push_back(entry.name);
  EXPECT_THAT(names, ::testing::ElementsAre("e", "s", "y", "z", "c", "a", "b", "q\"\n"));
  EXPECT_EQ(layout.header.size() % 8, 0U);

  std::string text(reinterpret_cast<const char*>(layout.header.data()), layout.header.size());
  text.resize(static_cast<std::size_t>(layout.file_bytes));
  const SafetensorsHeader header = parse(text);
  ASSERT_EQ(header.entries.size(), layout.entries.size());
  std::map<std::string, SafetensorsEntry> read;
  for (const SafetensorsEntry& entry : header.entries) read[entry.name] = entry;
  for (const SafetensorsEntry& entry : layout.entries) {
    EXPECT_EQ(read[entry.name].offset, entry.offset) << entry.name;
    EXPECT_EQ(read[entry.name].bytes, entry.bytes) << entry.name;
    EXPECT_EQ(read[entry.name].shape, entry.shape) << entry.name;
  }
}

TEST(Safetensors, TheGivenOrderIsKeptUnlessItWouldMisalign) {
  const auto names = [](const std::vector<SafetensorsTensor>& tensors) {
    std::string text;
    for (const SafetensorsEntry& entry : build_safetensors_header(tensors, {}, TensorOrder::kGiven).entries) {
      text += entry.name;
      EXPECT_EQ(entry.offset % (*safetensors_dtype_bits(entry.dtype) / 8), 0) << entry.name;
    }
    return text;
  };
  EXPECT_EQ(names({{"b", "F16", {2}}, {"a", "I32", {1}}, {"c", "U8", {1}}}), "bac");
  EXPECT_EQ(names({{"b", "F16", {1}}, {"a", "I32", {1}}, {"c", "U8", {1}}}), "abc");
}

// The bundled model was written by the reference writer: a header parsed and built again is the same, to the byte.
TEST(Safetensors, FilesOfTheReferenceWriterAreRebuilt) {
  for (const char* name : {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "reference.safetensors"}) {
    const File file = File::open_read(source_path(std::string("tests/models/tiny-llama/") + name));
    const SafetensorsHeader header = parse_safetensors_header(file);
    std::vector<SafetensorsTensor> tensors;
    for (const SafetensorsEntry& entry : header.entries) tensors.insert(tensors.begin(), {entry.name, entry.dtype, entry.shape});
    const SafetensorsLayout layout = build_safetensors_header(tensors, header.metadata);
    std::vector<std::byte> bytes(layout.header.size());
    file.read_at(0, bytes);
    EXPECT_TRUE(bytes == layout.header) << name;
    EXPECT_EQ(layout.file_bytes, file.size());
  }
}

TEST(Safetensors, AFileWithoutTensors) {
  const SafetensorsLayout layout = build_safetensors_header({}, {});
  const std::string text(reinterpret_cast<const char*>(layout.header.data()), layout.header.size());
  EXPECT_EQ(text, std::string("\x08\0\0\0\0\0\0\0", 8) + "{}      ");
  EXPECT_TRUE(parse(text).entries.empty());
}

TEST(Safetensors, BadLayoutsAreRefused) {
  const std::vector<SafetensorsTensor> twice = {{"a", "F16", {2}}, {"a", "F32", {2}}};
  EXPECT_EQ(error_of([&] { build_safetensors_header(twice); }).code(), ExitCode::kInternal);
  const std::vector<SafetensorsTensor> unknown = {{"a", "F17", {2}}, {"b", "F32", {2}}};
  EXPECT_EQ(error_of([&] { build_safetensors_header(unknown); }).code(), ExitCode::kInternal);
  const std::vector<SafetensorsTensor> ragged = {{"a", "F4", {3}}};
  EXPECT_EQ(error_of([&] { build_safetensors_header(ragged); }).code(), ExitCode::kInternal);
}

TEST(Safetensors, SubByteTensors) {
  EXPECT_EQ(parse_w("\"F4\"", "[4,4]", "[0,8]").entries[0].bytes, 8);
  EXPECT_EQ(parse_w("\"F8_E4M3\"", "[8]", "[0,8]").entries[0].bytes, 8);
}

TEST(Safetensors, DamagedFieldsAreRefused) {
  struct Case {
    const char* dtype;
    const char* shape;
    const char* offsets;
    const char* message;
  };
  ASSERT_NO_THROW(parse_w("\"F32\"", "[2]", "[0,8]"));
  const Case cases[] = {
      {"\"F33\"", "[2]", "[0,8]", "\"F33\""},
      {"7", "[2]", "[0,8]", "dtype is not a string"},
      {"\"F32\"", "[3]", "[0,8]", "need 12"},
      {"\"F32\"", "[1]", "[0,8]", "need 4"},
      {"\"F32\"", "[]", "[0,8]", "need 4"},
      {"\"F32\"", "2", "[0,8]", "shape is not a list"},
      {"\"F32\"", "[-2]", "[0,8]", "not a whole number"},
      {"\"F32\"", "[2.0]", "[0,8]", "not a whole number"},
      {"\"F32\"", "[9223372036854775808]", "[0,8]", "not a whole number"},
      {"\"F32\"", "[4611686018427387904,4]", "[0,8]", "2^63"},
      {"\"F32\"", "[4294967296,4294967296]", "[0,0]", "2^63"},
      {"\"F32\"", "[4611686018427387904]", "[0,0]", "2^63"},
      {"\"F4\"", "[15]", "[0,8]", "whole bytes"},
      {"\"F32\"", "[2]", "[0,8,9]", "not a pair"},
      {"\"F32\"", "[2]", "[8,0]", "before it begins"},
      {"\"F32\"", "[2]", "[-8,0]", "not a whole number"},
      {"\"F32\"", "[2]", "[18446744073709551608,0]", "not a whole number"},
      {"\"F32\"", "[1]", "[4,8]", "hole"},
      {"\"F32\"", "[4]", "[0,16]", "truncated"},
      {"\"F32\"", "[1]", "[0,4]", "bytes at the end"},
      {"\"F32\",\"dtype\":\"F32\"", "[2]", "[0,8]", "twice"},
  };
  for (const Case& c : cases) {
    const Error error = error_of([&] { parse_w(c.dtype, c.shape, c.offsets); });
    EXPECT_EQ(error.code(), ExitCode::kInput) << c.message;
    EXPECT_THAT(error.what(), HasSubstr(c.message)) << c.shape << c.offsets;
    EXPECT_THAT(error.what(), HasSubstr("x.safetensors"));
  }
}

TEST(Safetensors, DamagedHeadersAreRefused) {
  const std::string w = R"("w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  const std::string v = R"("v":{"dtype":"U8","shape":[4],"data_offsets":[2,6]})";
  const std::string after = R"("v":{"dtype":"U8","shape":[2],"data_offsets":[4,6]})";
  const auto message = [](const std::string& bytes) {
    const Error error = error_of([&] { parse(bytes); });
    EXPECT_EQ(error.code(), ExitCode::kInput);
    return std::string(error.what());
  };
  ASSERT_NO_THROW(parse(file_bytes("{" + w + "," + after + "}", "123456")));
  EXPECT_THAT(message(file_bytes("{" + w + "," + v + "}", "123456")), HasSubstr("overlap"));
  EXPECT_THAT(message(file_bytes("{" + w + "," + w + "}", "1234")), HasSubstr("twice"));
  EXPECT_THAT(message(file_bytes("{" + w + "}}", "1234")), HasSubstr("not valid JSON"));
  EXPECT_THAT(message(file_bytes("{" + w, "1234")), HasSubstr("not valid JSON"));
  EXPECT_THAT(message(file_bytes(" {" + w + "}", "1234")), HasSubstr("not a JSON object"));
  EXPECT_THAT(message(file_bytes("[]", "")), HasSubstr("not a JSON object"));
  EXPECT_THAT(message(file_bytes("", "1234")), HasSubstr("not a JSON object"));
  EXPECT_THAT(message(file_bytes(R"({"w":[]})", "")), HasSubstr("no \"dtype\""));
  EXPECT_THAT(message(file_bytes(R"({"w":{"dtype":"U8","shape":[0]}})", "")), HasSubstr("data_offsets"));
  EXPECT_THAT(message(file_bytes(R"({"__metadata__":{"a":1}})", "")), HasSubstr("not a string"));
  EXPECT_THAT(message(file_bytes(R"({"__metadata__":[]})", "")), HasSubstr("not an object"));
  EXPECT_THAT(message(""), HasSubstr("0 bytes"));
  EXPECT_THAT(message("1234567"), HasSubstr("7 bytes"));
}

TEST(Safetensors, EveryWrongHeaderLengthIsRefused) {
  const std::string good = file_bytes(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "1234");
  ASSERT_NO_THROW(parse(good));
  const std::uint64_t right = good.size() - 12;
  for (const std::uint64_t length :
       {std::uint64_t{0}, std::uint64_t{1}, right - 1, right + 1, right + 4, right + 5, std::uint64_t{100'000'001},
        std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    std::string bad = good;
    std::memcpy(bad.data(), &length, 8);
    EXPECT_EQ(error_of([&] { parse(bad); }).code(), ExitCode::kInput) << length;
  }
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string good = file_bytes(R"({"w":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "1234");
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_EQ(error_of([&] { parse(good.substr(0, size)); }).code(), ExitCode::kInput) << size;
}

}  // namespace
}  // namespace mpiquant
