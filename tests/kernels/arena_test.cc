#include "kernels/arena.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::size_t kUnit = Arena::kAlignment;

TEST(Arena, TakesTheSmallestPlaceThatFits) {
  Arena arena(10 * kUnit);
  const auto a = arena.take(4 * kUnit, Arena::kNoQueue), b = arena.take(1, Arena::kNoQueue),
             c = arena.take(2 * kUnit, Arena::kNoQueue);
  ASSERT_TRUE(a && b && c);
  EXPECT_EQ(arena.used(), 7 * kUnit);
  arena.give(*a, Arena::kNoQueue);
  EXPECT_EQ(arena.take(3 * kUnit, Arena::kNoQueue), *c + 2 * kUnit);  // the three at the end, not four at the beginning
  EXPECT_EQ(arena.take(5 * kUnit, Arena::kNoQueue), std::nullopt);
  EXPECT_EQ(arena.largest_free(), 4 * kUnit);
  EXPECT_EQ(arena.peak(), 7 * kUnit);
}

TEST(Arena, PlacesOfAQueueAreItsOwnUntilItSettles) {
  Arena arena(4 * kUnit);
  const auto a = arena.take(4 * kUnit, 1);
  arena.give(*a, 1);
  EXPECT_EQ(arena.take(kUnit, 2), std::nullopt);
  EXPECT_EQ(arena.take(kUnit, Arena::kNoQueue), std::nullopt);
  EXPECT_EQ(arena.take(kUnit, 1), 0U);
  arena.settle(2);
  EXPECT_EQ(arena.take(kUnit, 2), std::nullopt);
  arena.settle(1);
  EXPECT_EQ(arena.take(3 * kUnit, 2), kUnit);
}

TEST(Arena, WhatIsGivenBackBecomesWhole) {
  Arena arena(6 * kUnit);
  const auto a = arena.take(2 * kUnit, 0), b = arena.take(2 * kUnit, 1), c = arena.take(2 * kUnit, 0);
  arena.give(*a, 0);
  arena.give(*c, 0);
  arena.give(*b, Arena::kNoQueue);
  EXPECT_EQ(arena.take(6 * kUnit, 0), std::nullopt) << "pieces of different queues";
  arena.settle(0);
  EXPECT_EQ(arena.take(6 * kUnit, 3), 0U);
}

TEST(Arena, RefusesWhatIsTooLargeOrGivenTwice) {
  Arena arena(3 * kUnit);
  EXPECT_EQ(arena.take(SIZE_MAX, 0), std::nullopt);
  const auto a = arena.take(0, 0);
  ASSERT_TRUE(a);
  arena.give(*a, 0);
  EXPECT_THROW(arena.give(*a, 0), Error);
  EXPECT_THROW(arena.give(kUnit, 0), Error);
}

// Places never overlap, and a queue never gets what another one may still touch.
TEST(Arena, KeepsItsPromisesOverManySteps) {
  std::mt19937 random(5);
  Arena arena(64 * kUnit);
  struct Held {
    std::size_t bytes;
    int queue;
  };
  std::map<std::size_t, Held> held;
  std::map<std::size_t, int> touched;  // unit → queue whose operations may still touch it
  for (int step = 0; step < 20000; ++step) {
    const int queue = static_cast<int>(random() % 3);
    const auto action = random() % 20;
    if (action == 0) {
      arena.settle(queue);
      std::erase_if(touched, [&](const auto& unit) { return unit.second == queue; });
    } else if (action < 11) {
      const std::size_t bytes = (1 + random() % 9) * kUnit;
      const auto offset = arena.take(bytes, queue);
      if (!offset) continue;
      const auto next = held.lower_bound(*offset);
      if (next != held.end()) {
        ASSERT_LE(*offset + bytes, next->first);
      }
      if (next != held.begin()) {
        ASSERT_LE(std::prev(next)->first + std::prev(next)->second.bytes, *offset);
      }
      for (std::size_t unit = *offset; unit < *offset + bytes; unit += kUnit) {
        const auto by = touched.find(unit);
        if (by != touched.end()) {
          ASSERT_EQ(by->second, queue);
        }
      }
      held[*offset] = {bytes, queue};
    } else if (!held.empty()) {
      const auto place = std::next(held.begin(), static_cast<std::ptrdiff_t>(random() % held.size()));
      for (std::size_t unit = place->first; unit < place->first + place->second.bytes; unit += kUnit)
        touched[unit] = place->second.queue;
      arena.give(place->first, place->second.queue);
      held.erase(place);
    }
  }
}

}  // namespace
}  // namespace mpiquant
