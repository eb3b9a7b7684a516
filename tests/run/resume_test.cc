#include "src/run/resume.h"

#include <gtest/gtest.h>

namespace mpiquant {
namespace {

using Ranges = std::vector<std::pair<std::int64_t, std::int64_t>>;
using Layers = std::set<std::int64_t>;

void expect_start(const StageStart& start, std::int64_t first, HiddenFrom from, bool sends) {
  EXPECT_EQ(start.first, first);
  EXPECT_EQ(start.from, from);
  EXPECT_EQ(start.sends, sends);
}

TEST(Resume, AFreshRunBeginsWithTheEmbedding) {
  const auto starts = plan_starts(Ranges{{0, 4}, {4, 8}}, {}, {});
  expect_start(starts[0], 0, HiddenFrom::kEmbedding, true);
  expect_start(starts[1], 4, HiddenFrom::kStageBefore, false);
}

TEST(Resume, WithoutASnapshotAllCommittedLayersAreReplayed) {
  expect_start(plan_starts(Ranges{{0, 8}}, {0, 1, 2}, {})[0], 0, HiddenFrom::kEmbedding, false);
}

TEST(Resume, TheLastSnapshotBeforeTheFirstOpenLayerIsTaken) {
  expect_start(plan_starts(Ranges{{0, 8}}, {0, 1, 2, 3, 4}, {2, 4})[0], 4, HiddenFrom::kSnapshot, false);
  expect_start(plan_starts(Ranges{{0, 8}}, {0, 1, 2, 3}, {2, 4})[0], 4, HiddenFrom::kSnapshot, false);
  // One beyond it is of no use: layer 3 must be quantized first.
  expect_start(plan_starts(Ranges{{0, 8}}, {0, 1, 2, 4}, {2, 5})[0], 2, HiddenFrom::kSnapshot, false);
}

TEST(Resume, NothingIsLeftToDo) { expect_start(plan_starts(Ranges{{0, 3}}, {0, 1, 2}, {2})[0], 3, HiddenFrom::kNowhere, false); }

TEST(Resume, AStageThatIsDoneRunsOnlyForTheNextOne) {
  const Ranges stages{{0, 3}, {3, 6}, {6, 9}};
  auto starts = plan_starts(stages, {0, 1, 2, 3}, {});
  expect_start(starts[0], 0, HiddenFrom::kEmbedding, true);
  expect_start(starts[1], 3, HiddenFrom::kStageBefore, true);
  starts = plan_starts(stages, {0, 1, 2, 3}, {2});
  expect_start(starts[0], 2, HiddenFrom::kSnapshot, true);
  starts = plan_starts(stages, {0, 1, 2, 3}, {3});
  expect_start(starts[0], 3, HiddenFrom::kNowhere, false);
  expect_start(starts[1], 3, HiddenFrom::kSnapshot, true);
  expect_start(starts[2], 6, HiddenFrom::kStageBefore, false);
}

TEST(Resume, StagesThatQuantizeAtOnceHaveHolesOfTheirOwn) {
  const auto starts = plan_starts(Ranges{{0, 3}, {3, 6}}, {0, 3, 4}, {1, 4});
  expect_start(starts[0], 1, HiddenFrom::kSnapshot, false);
  expect_start(starts[1], 4, HiddenFrom::kSnapshot, false);
}

}  // namespace
}  // namespace mpiquant
