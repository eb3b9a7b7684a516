#include "src/plan/plan.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "src/base/error.h"
#include "src/plan/output_choice.h"
#include "tests/plan/sample_model.h"

namespace mpiquant {
namespace {

struct Case {
  int ranks;
  int stages;
};

class PlanTest : public testing::TestWithParam<Case> {
 protected:
  Plan plan(std::size_t samples = 32) {
    recipe_.stages = GetParam().stages;
    recipe_.schedule = recipe_.stages > 1 ? Schedule::kStaged : Schedule::kSequential;
    recipe_.outputs = parse_outputs("gptq,dense");
    std::vector<std::string> notes;
    outputs_ = resolve_outputs(recipe_, model_, sample_dtypes(model_), notes);
    facts_ = sample_facts(model_, outputs_.size());
    return make_plan({model_, recipe_, outputs_, facts_, std::vector<std::int64_t>(samples, 256), {GetParam().ranks, 2}});
  }

  ModelSpec model_ = sample_model(8);
  Recipe recipe_;
  std::vector<OutputSpec> outputs_;
  std::vector<RunFacts> facts_;
};

TEST_P(PlanTest, EveryRowOfEveryLinearHasOneOwner) {
  const Plan plan = this->plan();
  ASSERT_EQ(plan.layers.size(), model_.layers.size());
  for (std::size_t l = 0; l < plan.layers.size(); ++l)
    for (std::size_t b = 0; b < plan.layers[l].blocks.size(); ++b) {
      std::map<int, std::int64_t> next;
      for (const PartPlan& part : plan.layers[l].blocks[b].parts) {
        EXPECT_EQ(part.row_begin, next[part.linear]);
        EXPECT_LE(part.rows, kPartRows);
        EXPECT_GE(part.replica, 0);
        EXPECT_LT(part.replica, plan.replicas);
        next[part.linear] += part.rows;
      }
      const auto& linears = model_.layers[l].blocks[b].linears;
      for (std::size_t i = 0; i < linears.size(); ++i) EXPECT_EQ(next[static_cast<int>(i)], linears[i].rows);
    }
}

TEST_P(PlanTest, EverySampleIsInOneUnit) {
  const Plan plan = this->plan(130);
  std::int64_t next = 0;
  for (const UnitPlan& unit : plan.units) {
    EXPECT_EQ(unit.first_sample, next);
    EXPECT_EQ(unit.tokens, unit.samples * 256);
    next += unit.samples;
  }
  EXPECT_EQ(next, 130);
  EXPECT_LE(plan.units.size(), 64U);
}

TEST_P(PlanTest, LayersAreContiguousOverTheStages) {
  const Plan plan = this->plan();
  std::int64_t next = 0;
  for (int stage = 0; stage < plan.stages; ++stage) {
    const auto [first, last] = plan.layers_of(stage);
    EXPECT_EQ(first, next);
    EXPECT_GT(last, first);
    next = last;
  }
  EXPECT_EQ(next, static_cast<std::int64_t>(plan.layers.size()));
}

TEST_P(PlanTest, SlabsCoverTheDenseTensors) {
  const Plan plan = this->plan();
  std::map<std::array<int, 3>, std::int64_t> rows;
  for (const SlabPlan& slab : plan.slabs) {
    EXPECT_LT(slab.rank, GetParam().ranks);
    for (const SlabTarget& target : slab.targets)
      rows[{target.output, target.file, target.tensor}] += slab.row_end - slab.row_begin;
  }
  for (const auto& [key, count] : rows) {
    const auto o = static_cast<std::size_t>(key[0]);
    const TensorPlan& tensor = plan.files[o][static_cast<std::size_t>(key[1])].tensors[static_cast<std::size_t>(key[2])];
    EXPECT_EQ(count * find_container(outputs_[o].container).dense_row_bytes(outputs_[o], model_, tensor), tensor.bytes)
        << tensor.name;
  }
}

TEST_P(PlanTest, RowsOfASourceAreInOneSlabAndThoseOfALayerInItsStage) {
  const Plan plan = this->plan();
  std::map<std::string, std::int64_t> rows;
  int of_layers = 0;
  for (const SlabPlan& slab : plan.slabs) {
    const std::string& source = plan.tensor_of(slab.targets.front()).source;
    rows[source] += slab.row_end - slab.row_begin;
    EXPECT_EQ(slab.targets.size(), 2U) << source;  // one in each output
    for (const SlabTarget& target : slab.targets) EXPECT_EQ(plan.tensor_of(target).source, source);
    EXPECT_EQ(slab.layer == kNoLayer, source.find(".layers.") == std::string::npos) << source;
    if (slab.layer == kNoLayer) continue;
    ++of_layers;
    EXPECT_NE(source.find(fmt::format(".layers.{}.", slab.layer)), std::string::npos) << source;
    EXPECT_EQ(slab.rank / plan.replicas, plan.layers[static_cast<std::size_t>(slab.layer)].stage) << source;
  }
  for (const DenseChoice& dense : outputs_[0].dense) EXPECT_EQ(rows[dense.source], dense.shape[0]) << dense.source;
  EXPECT_GE(of_layers, 2 * std::ssize(plan.layers));
}

TEST_P(PlanTest, WorkIsBalanced) {
  if (GetParam().ranks > 4) return;  // the promise is for up to four ranks of a model this small
  const Plan plan = this->plan();
  std::vector<std::int64_t> tokens, rows, read, written;
  for (const RankCost& cost : plan.costs) {
    tokens.push_back(cost.tokens);
    rows.push_back(cost.rows_swept);
    read.push_back(cost.bytes_read);
    written.push_back(cost.bytes_written);
  }
  EXPECT_LE(imbalance(tokens), 1.5);
  EXPECT_LE(imbalance(rows), 1.5);
  EXPECT_LE(imbalance(read), 1.5);
  EXPECT_LE(imbalance(written), 1.5);
}

TEST_P(PlanTest, OutputsDoNotDependOnRanks) {
  const Plan plan = this->plan();
  Recipe alone = recipe_;
  alone.stages = 1;
  alone.schedule = Schedule::kSequential;
  const Plan reference = make_plan({model_, alone, outputs_, facts_, std::vector<std::int64_t>(32, 256), {1, 1}});
  ASSERT_EQ(plan.units.size(), reference.units.size());
  for (std::size_t u = 0; u < plan.units.size(); ++u) EXPECT_EQ(plan.units[u].samples, reference.units[u].samples);
  for (std::size_t o = 0; o < plan.files.size(); ++o)
    for (std::size_t f = 0; f < plan.files[o].size(); ++f) EXPECT_EQ(plan.files[o][f].header, reference.files[o][f].header);
}

INSTANTIATE_TEST_SUITE_P(Shapes, PlanTest,
                         testing::Values(Case{1, 1}, Case{2, 1}, Case{3, 1}, Case{4, 1}, Case{4, 2}, Case{8, 1}, Case{8, 4},
                                         Case{64, 8}));

TEST(Plan, RefusesStagesThatDoNotDivideTheRanks) {
  const ModelSpec model = sample_model();
  Recipe recipe;
  recipe.schedule = Schedule::kStaged;
  recipe.stages = 2;
  std::vector<std::string> notes;
  const auto outputs = resolve_outputs(recipe, model, sample_dtypes(model), notes);
  const std::vector<RunFacts> facts = sample_facts(model, 1);
  EXPECT_THROW(make_plan({model, recipe, outputs, facts, {256}, {3, 1}}), Error);
}

TEST(Imbalance, IsTheLargestOverTheMean) {
  EXPECT_DOUBLE_EQ(imbalance({1, 1, 1, 1}), 1);
  EXPECT_DOUBLE_EQ(imbalance({4, 0, 0, 0}), 4);  // one rank doing all the work
}

}  // namespace
}  // namespace mpiquant
