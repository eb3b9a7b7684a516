#include "src/text/token_store.h"

#include <gmock/gmock.h>

#include "io/hdf5.h"
#include "tests/text/text_support.h"

namespace mpiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<std::int32_t>;

CalibrationSet example() {
  CalibrationSet set;
  set.samples = {{1, 2, 3}, {4}, {5, 6}};
  set.record = {{"key", {{"tokenizer", "t"}, {"text", "x"}, {"seqlen", 3}}}, {"samples", 3}};
  return set;
}

TEST(TokenStore, RoundTrip) {
  const TemporaryFolder folder;
  const CalibrationSet set = example();
  write_token_store(folder / "tokens.h5", set);
  EXPECT_FALSE(std::filesystem::exists(folder / "tokens.h5.partial"));
  const CalibrationSet loaded = load_token_store(folder / "tokens.h5", set.record.at("key"));
  EXPECT_EQ(loaded.samples, set.samples);
  EXPECT_EQ(loaded.record, set.record);
  EXPECT_THAT(read_calibration_ids(folder / "tokens.h5", {10, 3}).samples, ElementsAre(Ids{1, 2, 3}, Ids{4}, Ids{5, 6}));
}

TEST(TokenStore, NamesTheFieldThatDiffers) {
  const TemporaryFolder folder;
  write_token_store(folder / "tokens.h5", example());
  for (const char* field : {"tokenizer", "text", "seqlen"}) {
    Json key = example().record.at("key");
    key[field] = "other";
    EXPECT_THAT(message_of(ExitCode::kInput, [&] { load_token_store(folder / "tokens.h5", key); }),
                HasSubstr(fmt::format("another {}:", field)));
  }
  EXPECT_THAT(message_of(ExitCode::kInput,
                         [&] {
                           load_token_store(folder / "tokens.h5", Json{{"tokenizer", "t"}});
                         }),
              HasSubstr("something else"));
}

TEST(TokenStore, DamageIsNoticed) {
  const TemporaryFolder folder;
  const auto with = [&](std::vector<std::int64_t> offsets, const std::string& format, const std::string& record) {
    const Ids tokens{1, 2, 3};
    Hdf5Writer file(folder / "bad.h5");
    file.attribute("format", format);
    file.write("tokens", {3}, std::span<const std::int32_t>(tokens));
    file.write("offsets", {static_cast<std::int64_t>(offsets.size())}, std::span<const std::int64_t>(offsets));
    const std::vector<std::uint8_t> bytes(record.begin(), record.end());
    file.write("record", {static_cast<std::int64_t>(bytes.size())}, std::span<const std::uint8_t>(bytes));
    file.commit();
    return message_of(ExitCode::kInput, [&] { load_token_store(folder / "bad.h5"); });
  };
  const std::string format = "mpiquant tokens 1";
  const std::string record = R"({"key": {}})";
  EXPECT_THAT(with({0, 4}, format, record), HasSubstr("do not fit"));
  EXPECT_THAT(with({1, 3}, format, record), HasSubstr("do not fit"));
  EXPECT_THAT(with({0, 100, 3}, format, record), HasSubstr("do not rise"));
  EXPECT_THAT(with({0, -1, 3}, format, record), HasSubstr("do not rise"));
  EXPECT_THAT(with({0, 0, 3}, format, record), HasSubstr("do not rise"));
  EXPECT_THAT(with({0, 3}, "other", record), HasSubstr("not a token store"));
  EXPECT_THAT(with({0, 3}, format, "{}"), HasSubstr("no key"));
  EXPECT_THAT(with({0, 3}, format, "{"), HasSubstr("its record"));
}

TEST(TokenStore, TablesOfIds) {
  const TemporaryFolder folder;
  const std::vector<std::int64_t> wide{1, 2, 3, 4};
  {
    Hdf5Writer file(folder / "ids.h5");
    file.write("input_ids", {2, 2}, std::span<const std::int64_t>(wide));
    file.commit();
  }
  EXPECT_THAT(read_calibration_ids(folder / "ids.h5", {10, 0}).samples, ElementsAre(Ids{1, 2}, Ids{3, 4}));
  EXPECT_THAT(message_of(ExitCode::kInput, [&] { read_calibration_ids(folder / "ids.h5", {4, 0}); }), HasSubstr("token id 4"));
  {
    Hdf5Writer file(folder / "flat.h5");
    file.write("input_ids", {4}, std::span<const std::int64_t>(wide));
    file.commit();
  }
  EXPECT_THAT(message_of(ExitCode::kInput,
                         [&] {
                           read_calibration_ids(folder / "flat.h5", {10, 0});
                         }),
              HasSubstr("[samples, tokens]"));
}

}  // namespace
}  // namespace mpiquant
