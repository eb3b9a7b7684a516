#include "src/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpiquant {
namespace {

TEST(DurationText, GetsCoarser) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(59.6), "1 min 00 s");
  EXPECT_EQ(duration_text(200), "3 min 20 s");
  EXPECT_EQ(duration_text(3600 + 5 * 60 + 59), "1 h 05 min");
  EXPECT_EQ(duration_text(-1), "0 s");
}

class ProgressTest : public testing::Test {
 protected:
  double time_ = 100;
  Progress make(std::int64_t total, std::int64_t done = 0) {
    return Progress("layer", total, done, [this] { return time_; });
  }
};

TEST_F(ProgressTest, NothingIsKnownAtFirst) {
  const Progress progress = make(10);
  EXPECT_LT(progress.seconds_left(), 0);
  EXPECT_EQ(progress.bar(40), "layers [..........................] 0/10");
}

TEST_F(ProgressTest, TheTimeLeftIsThatOfTheItemsToCome) {
  Progress progress = make(10);
  time_ += 5;
  progress.item_done("loss 0.5");
  EXPECT_DOUBLE_EQ(progress.seconds_left(), 45);
  EXPECT_EQ(progress.line("loss 0.5"), "layer 1 of 10: loss 0.5, 45 s left");
  progress.at(0.5);
  time_ += 2.5;
  EXPECT_DOUBLE_EQ(progress.seconds_left(), 42.5);
  for (int i = 0; i < 9; ++i) progress.item_done("");
  EXPECT_DOUBLE_EQ(progress.seconds_left(), 0);
}

TEST_F(ProgressTest, ItemsOfAnEarlierRunSayNothingAboutSpeed) {
  Progress progress = make(10, 8);
  EXPECT_LT(progress.seconds_left(), 0);
  time_ += 4;
  progress.item_done("");
  EXPECT_DOUBLE_EQ(progress.seconds_left(), 4);
  EXPECT_THAT(progress.line("x"), testing::StartsWith("layer 9 of 10: x"));
}

TEST_F(ProgressTest, TheBarFillsAndFits) {
  Progress progress = make(4);
  progress.item_done("");
  progress.at(0.5);
  EXPECT_THAT(progress.bar(79), testing::StartsWith("layers [###############.........................] 1/4"));
  for (const int columns : {0, 5, 20, 79, 200}) EXPECT_LE(progress.bar(columns).size(), static_cast<std::size_t>(columns));
  EXPECT_EQ(make(0).bar(20), "layers [#######] 0/0");
}

}  // namespace
}  // namespace mpiquant
