#include "src/plan/forecast.h"

#include <gtest/gtest.h>

#include "src/plan/output_choice.h"
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
  const std::vector<RunFacts> facts = sample_facts(model, outputs.size());
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

std::int64_t sweeps(const Program& program) {
  std::int64_t parts = 0;
  for (const Duty& duty : duties_of(program)) parts += duty.parts;
  return parts;
}

// Weights of the sweeps that search their range.
double searched(const PlanSummary& summary) { return summary.estimate.work[Op::kSearch]; }

// Outputs that differ in their codec are converted each; those that share it once. One of them travels to all replicas.
TEST(Forecast, CountsTheCodecsOfTheOutputs) {
  const ModelSpec model = sample_model(3);
  const PlanShape shape = shape_of(model);
  const Machine machine = any_machine();
  const auto ask = [&](const std::string& outputs_text, bool by_shape, const std::string& propagate = "") {
    Recipe recipe;
    recipe.outputs = parse_outputs(outputs_text);
    recipe.propagate = propagate;
    std::vector<std::string> notes;
    const std::vector<OutputSpec> outputs = resolve_outputs(recipe, model, sample_dtypes(model), notes);
    const Plan plan =
        make_plan({model, recipe, outputs, sample_facts(model, outputs.size()), std::vector<std::int64_t>(32, 256), {2, 1}});
    ForecastInput input{.model = "sample", .shape = shape, .recipe = recipe, .machine = machine};
    input.samples = 32;
    input.length = 256;
    input.ranks = input.per_node = 2;
    if (!by_shape) {
      input.model_spec = &model;
      input.plan = &plan;
      input.outputs = &outputs;
    }
    return forecast(input);
  };
  for (const bool by_shape : {false, true}) {
    const Forecast one = ask("gptq", by_shape), shared = ask("gptq,dense:gptq", by_shape);
    const Forecast two = ask("gptq,gptq[bits=3,mse=true,name=small]", by_shape);
    const Forecast three = ask("gptq,gptq[bits=3,mse=true,name=small],dense:q4_0", by_shape);
    EXPECT_GT(sweeps(one.program), 0);
    EXPECT_EQ(sweeps(shared.program), sweeps(one.program));
    EXPECT_EQ(sweeps(two.program), 2 * sweeps(one.program));
    EXPECT_EQ(sweeps(three.program), 3 * sweeps(one.program));
    EXPECT_EQ(searched(one.summary), 0);
    EXPECT_DOUBLE_EQ(searched(two.summary), one.summary.estimate.work[Op::kCode]);
    EXPECT_EQ(searched(three.summary), searched(two.summary));
    EXPECT_EQ(three.summary.estimate.work[Op::kDecode], one.summary.estimate.work[Op::kDecode]);
    EXPECT_EQ(ask("gptq,gptq[bits=3,name=small]", by_shape, "original").summary.estimate.work[Op::kDecode], 0);
    // The second is gathered by its writer alone: half of what all gather, on two ranks.
    const auto parts = [](const Forecast& asked) { return asked.summary.estimate.wire[static_cast<std::size_t>(Phase::kParts)]; };
    EXPECT_NEAR(parts(two) / parts(one), 1.5, 1e-9);
    EXPECT_DOUBLE_EQ(parts(two), parts(ask("gptq,gptq[bits=3,mse=true,name=small]", by_shape, "small")));
    EXPECT_GT(two.summary.estimate.seconds, one.summary.estimate.seconds);
    ASSERT_EQ(two.summary.files.size(), 2U);
    EXPECT_LT(two.summary.files[1].second, two.summary.files[0].second);
    EXPECT_NE(two.summary.files[1].first.find("small"), std::string::npos);
  }
  // Only what has a codec is converted.
  const Forecast less = ask("gptq,dense[bits=3,rule=*:dense]", false);
  EXPECT_EQ(sweeps(less.program), sweeps(ask("gptq", false).program));
  EXPECT_EQ(sweeps(ask("gptq,gptq[lm_head=true,name=head]", false).program) - sweeps(ask("gptq", false).program),
            2048 / kPartRows);
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
