#include "src/plan/stages.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "src/plan/output_choice.h"
#include "src/plan/plan.h"
#include "tests/plan/sample_model.h"

namespace mpiquant {
namespace {

using Bounds = std::vector<std::size_t>;

std::vector<LayerLoad> equal(std::size_t layers) { return std::vector<LayerLoad>(layers, {3, 7}); }

TEST(StageBounds, EqualLayersAreSharedEvenlyAndEarlierStagesTakeTheRemainder) {
  EXPECT_EQ(stage_bounds(equal(8), {}, 1), (Bounds{0, 8}));
  EXPECT_EQ(stage_bounds(equal(8), {}, 4), (Bounds{0, 2, 4, 6, 8}));
  EXPECT_EQ(stage_bounds(equal(8), {}, 3), (Bounds{0, 3, 6, 8}));
  EXPECT_EQ(stage_bounds(equal(7), {}, 3), (Bounds{0, 3, 5, 7}));
  EXPECT_EQ(stage_bounds(equal(126), {}, 16).at(1), 8U);
  EXPECT_EQ(stage_bounds(equal(3), {}, 3), (Bounds{0, 1, 2, 3}));
}

TEST(StageBounds, WorkBytesAndAQuantizedHeadCount) {
  EXPECT_EQ(stage_bounds(std::vector<LayerLoad>{{1, 0}, {1, 0}, {1, 0}, {1, 0}, {4, 0}}, {}, 2), (Bounds{0, 4, 5}));
  EXPECT_EQ(stage_bounds(std::vector<LayerLoad>{{0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 4}}, {}, 2), (Bounds{0, 4, 5}));
  EXPECT_EQ(stage_bounds(equal(6), {6, 14}, 2), (Bounds{0, 4, 6}));
  EXPECT_EQ(stage_bounds(equal(6), {60, 140}, 2), (Bounds{0, 5, 6})) << "every stage holds a layer";
}

// Of all ways to cut random layers into three stages, none has a smaller sum of squares.
TEST(StageBounds, NoOtherWayIsMoreEven) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> of(0.2, 3);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<LayerLoad> layers(9);
    for (LayerLoad& layer : layers) layer = {of(random), of(random)};
    const LayerLoad head{of(random), of(random)};
    LayerLoad all = head;
    for (const LayerLoad& layer : layers) all = {all.work + layer.work, all.bytes + layer.bytes};
    const auto squares = [&](const Bounds& bounds) {
      double sum = 0;
      for (std::size_t s = 0; s + 1 < bounds.size(); ++s) {
        LayerLoad stage = s + 2 == bounds.size() ? head : LayerLoad{};
        for (std::size_t l = bounds[s]; l < bounds[s + 1]; ++l)
          stage = {stage.work + layers[l].work, stage.bytes + layers[l].bytes};
        const double share = stage.work / all.work + stage.bytes / all.bytes;
        sum += share * share;
      }
      return sum;
    };
    const double found = squares(stage_bounds(layers, head, 3));
    double least = 1e9;
    for (std::size_t a = 1; a < 8; ++a)
      for (std::size_t b = a + 1; b < 9; ++b) least = std::min(least, squares({0, a, b, 9}));
    EXPECT_NEAR(found, least, 1e-5);
  }
}

std::int64_t layers_of_first_stage(const std::string& rule, bool head, std::size_t samples) {
  ModelSpec model = sample_model(32);
  model.vocab = model.head.rows = 1 << 14;
  Recipe recipe;
  recipe.stages = 2;
  recipe.schedule = Schedule::kStaged;
  recipe.outputs = parse_outputs("dense");
  recipe.quantize_head = head;
  if (!rule.empty()) recipe.rules.push_back(parse_rule(rule));
  std::vector<std::string> notes;
  const auto outputs = resolve_outputs(recipe, model, sample_dtypes(model), notes);
  const auto facts = sample_facts(model, outputs.size());
  return make_plan({model, recipe, outputs, facts, std::vector<std::int64_t>(samples, 256), {2, 1}}).layers_of(0).second;
}

TEST(PlanStages, LayersThatStayDenseAreLessWork) {
  EXPECT_EQ(layers_of_first_stage("", false, 32), 16);
  EXPECT_GT(layers_of_first_stage("*layers.?.*:dense", false, 32), 16);
  EXPECT_LT(layers_of_first_stage("*layers.2?.*:dense", false, 32), 16);
  EXPECT_GT(layers_of_first_stage("", true, 32), 16) << "the head is on the last stage";
  EXPECT_EQ(layers_of_first_stage("*layers.?.*:dense", false, 0), 16) << "without calibration bytes count";
}

}  // namespace
}  // namespace mpiquant
