#include "src/plan/forecast.h"

#include <gtest/gtest.h>

#include "tests/plan/sample_model.h"

namespace mpiquant {
namespace {

// A machine of which only memory matters here.
Machine any_machine() {
  Machine machine;
  machine.name = "any";
  machine.rates.of.fill(1e9);
  machine.link = machine.network = {1e9, 1e-5};
  return machine;
}

// The steps of a program hold all work of a plan: the same rows and units as make_plan gives to each rank.
TEST(Forecast, IsOfThePlanThatQuantizeRuns) {
  const ModelSpec model = sample_model(8);
  const PlanShape shape = shape_of(model);
  Recipe recipe;
  std::vector<std::string> notes;
  const std::vector<OutputSpec> outputs = resolve_outputs(recipe, model, sample_dtypes(model), notes);
  RunFacts facts;
  facts.model = &model;
  for (const int ranks : {1, 2, 3}) {
    const Plan plan = make_plan({model, recipe, outputs, facts, std::vector<std::int64_t>(32, 256), {ranks, 2}});
    const Machine machine = any_machine();
    ForecastInput input{.model = "sample", .shape = shape, .recipe = recipe, .machine = machine};
    input.samples = 32;
    input.length = 256;
    input.ranks = ranks;
    input.per_node = ranks;
    input.model_spec = &model;
    input.plan = &plan;
    input.outputs = &outputs;
    const PlanSummary summary = forecast(input).summary;
    std::int64_t hessians = 0;
    for (std::size_t r = 0; r < plan.costs.size(); ++r) {
      EXPECT_EQ(summary.duties[r].parts * kPartRows, plan.costs[r].rows_swept);
      EXPECT_EQ(summary.duties[r].units * 256 * 8, plan.costs[r].tokens);
      EXPECT_EQ(summary.memory[r].total(), plan.costs[r].memory);
      hessians += summary.duties[r].hessians;
    }
    EXPECT_EQ(hessians, 8 * 4);
    EXPECT_EQ(memory_lacking(summary), 0);
    double bytes = 0;
    for (const FilePlan& file : plan.files.front()) bytes += static_cast<double>(file.bytes);
    EXPECT_EQ(summary.files.front().second, bytes);
  }
}

TEST(Forecast, SaysHowMuchMemoryIsLacking) {
  const ModelSpec model = sample_model(2);
  const PlanShape shape = shape_of(model);
  const Recipe recipe;
  Machine machine = any_machine();
  machine.node_memory = 50e6;
  ForecastInput input{.model = "sample", .shape = shape, .recipe = recipe, .machine = machine};
  input.samples = 128;
  input.length = 512;
  const PlanSummary summary = forecast(input).summary;
  EXPECT_EQ(memory_lacking(summary), static_cast<double>(summary.memory.front().total()) - 50e6);
}

}  // namespace
}  // namespace mpiquant
