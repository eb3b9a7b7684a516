#pragma once

#include <string>

#include "io/file.h"
#include "src/base/json.h"
#include "tests/io/fixtures.h"

namespace mpiquant {

// A tokenizer.json of five pieces and two merges.
inline Json byte_tokenizer() {
  Json file = {
      {"version", "1.0"},
      {"added_tokens", Json::array()},
      {"normalizer", nullptr},
      {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
      {"post_processor", nullptr},
      {"model",
       {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"Ġ", 2}, {"ab", 3}, {"Ġab", 4}}}, {"merges", {"a b", "Ġ ab"}}}}};
  return file;
}

inline void write_tokenizer(const TemporaryFolder& folder, const Json& file) {
  write_text_file(folder / "tokenizer.json", file.dump());
}

// The message of the Error that `body` throws, which must have this code; "" if none.
template <typename Body>
std::string message_of(ExitCode code, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

}  // namespace mpiquant
