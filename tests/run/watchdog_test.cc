#include "src/run/watchdog.h"

#include <gtest/gtest.h>

namespace mpiquant {
namespace {

using namespace std::chrono_literals;

TEST(Watchdog, BarksOnceWhenMarksStop) {
  Marks marks;
  std::atomic<int> barks = 0;
  const Watchdog watchdog(marks, 20ms, [&](double seconds) {
    EXPECT_GE(seconds, 0.02);
    ++barks;
  });
  for (int i = 0; i < 2000 && barks == 0; ++i) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(barks, 1);
}

TEST(Watchdog, IsQuietWhileMarksCome) {
  Marks marks;
  std::atomic<int> barks = 0;
  {
    const Watchdog watchdog(marks, 60s, [&](double) { ++barks; });
    marks.mark();
  }
  EXPECT_EQ(barks, 0);
}

}  // namespace
}  // namespace mpiquant
