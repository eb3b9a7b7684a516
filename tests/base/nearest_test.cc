#include "src/base/nearest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mpiquant {
namespace {

const std::vector<std::string> kNames = {"group_size", "bits", "sym", "act_order"};

TEST(EditDistance, CountsSingleEdits) {
  EXPECT_EQ(edit_distance("bits", "bits"), 0);
  EXPECT_EQ(edit_distance("", "bits"), 4);
  EXPECT_EQ(edit_distance("bits", ""), 4);
  EXPECT_EQ(edit_distance("bit", "bits"), 1);
  EXPECT_EQ(edit_distance("bots", "bits"), 1);
  EXPECT_EQ(edit_distance("btis", "bits"), 1);  // neighbours swapped
  EXPECT_EQ(edit_distance("sitting", "kitten"), 3);
  EXPECT_EQ(edit_distance("Group-Size", "group_size"), 0);
}

TEST(Nearest, IsTheClosestThatIsNear) {
  EXPECT_EQ(nearest("grup_size", kNames), "group_size");
  EXPECT_EQ(nearest("group-size", kNames), "group_size");
  EXPECT_EQ(nearest("bit", kNames), "bits");
  EXPECT_EQ(nearest("colour", kNames), "");
  EXPECT_EQ(nearest("", kNames), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), kNames), "");
  EXPECT_EQ(nearest("x", {}), "");
}

TEST(Suggestion, ListsAndAsks) {
  EXPECT_EQ(suggestion("bit", {"bits", "sym"}), "(known: bits, sym) did you mean \"bits\"?");
  EXPECT_EQ(suggestion("colour", {"bits", "sym"}), "(known: bits, sym)");
}

}  // namespace
}  // namespace mpiquant
