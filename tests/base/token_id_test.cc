#include "src/base/token_id.h"

#include <gtest/gtest.h>

#include "src/base/error.h"

namespace mpiquant {
namespace {

TEST(TokenId, IsAWholeNumber) {
  EXPECT_EQ(token_id(parse_json("0", "text")), 0);
  EXPECT_EQ(token_id(parse_json("2147483647", "text")), 2147483647);
  EXPECT_EQ(token_id(Json(7)), 7);
  EXPECT_EQ(token_id(parse_json_by_key("7", "text")), 7);
}

TEST(TokenId, NothingElseIsOne) {
  for (const char* text : {"-1", "2147483648", "18446744073709551615", "10000000000000000000007", "1.0", "\"1\"", "null", "[1]"})
    try {
      token_id(parse_json(text, "text"));
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kInput) << text;
    }
}

}  // namespace
}  // namespace mpiquant
