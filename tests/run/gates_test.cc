#include "src/run/gates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"

namespace mpiquant {
namespace {

using testing::HasSubstr;

std::string refusal(const Gates& gates, const std::vector<std::string>& fallbacks, const std::vector<TensorRecord>& records) {
  try {
    check_gates(gates, fallbacks, records);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kGate);
    return error.what();
  }
  return "";
}

// q in two codecs that share a factor, and k.
std::vector<TensorRecord> records() {
  return {{.module = "k", .codec = "int4", .damp_retries = 1, .scale_overflows = 3},
          {.module = "q", .codec = "int4", .damp_retries = 2, .scale_underflows = 1},
          {.module = "q", .codec = "q4_0", .damp_retries = 2}};
}

TEST(Gates, WithoutLimitsEverythingPasses) { EXPECT_EQ(refusal({}, {"a", "b"}, records()), ""); }

TEST(Gates, ALimitIsTheLargestThatPasses) {
  EXPECT_EQ(refusal({.max_fallbacks = 2}, {"a", "b"}, {}), "");
  EXPECT_THAT(refusal({.max_fallbacks = 1}, {"a", "b"}, {}), HasSubstr("2 fallbacks, and the gate max_fallbacks allows 1"));
  EXPECT_EQ(refusal({.max_clipped_scales = 4}, {}, records()), "");
  EXPECT_THAT(refusal({.max_clipped_scales = 3}, {}, records()), HasSubstr("4 clipped scales"));
}

TEST(Gates, ASharedFactorIsCountedOnce) {
  EXPECT_EQ(refusal({.max_damping_retries = 3}, {}, records()), "");
  EXPECT_THAT(refusal({.max_damping_retries = 2}, {}, records()), HasSubstr("3 retries with more damping"));
}

}  // namespace
}  // namespace mpiquant
