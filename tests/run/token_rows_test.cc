#include "src/run/token_rows.h"

#include "src/model/weights.h"
#include "src/run/run_facts.h"
#include "tests/run/quantize_support.h"

namespace mpiquant {
namespace {

// Every rank lets the embedding's rows of its slabs pass, and then has those of its units' tokens.
TEST(TokenRows, AreTheEmbeddings) {
  const ModelInput model = open_model(kModel);
  const Samples samples = {{5, 2047, 0, 5}, {1024, 7, 7}};
  Recipe recipe;
  recipe.group_size = 64;
  std::vector<std::string> notes;
  const auto outputs = resolve_outputs(recipe, model.spec, model.dtypes(), notes);
  const std::vector<RunFacts> facts = run_facts(recipe, model, outputs);
  for (const int ranks : {1, 3, 8}) {
    const Plan plan = make_plan({model.spec, recipe, outputs, facts, {4, 3}, {ranks, 1}});
    ASSERT_EQ(plan.units.size(), 2U);
    run_on_threads(ranks, [&](Communicator& world) {
      TokenRows rows(model.spec, plan, samples, world);
      std::vector<float> passing;
      for (const SlabPlan& slab : plan.slabs) {
        if (slab.rank != world.rank() || plan.tensor_of(slab.targets.front()).source != model.spec.embedding) continue;
        passing.resize(static_cast<std::size_t>((slab.row_end - slab.row_begin) * slab.cols));
        load_rows(*model.source, model.spec.embedding, slab.cols, slab.row_begin, slab.row_end, passing);
        rows.pass(slab.row_begin, slab.row_end, passing);
      }
      rows.share(world);
      for (const std::int64_t unit : plan.units_of(world.rank())) {
        const auto& sample = samples[static_cast<std::size_t>(unit)];
        std::vector<float> expected(sample.size() * static_cast<std::size_t>(model.spec.hidden)), got(expected.size());
        embed(*model.source, model.spec, sample, expected);
        rows.copy(sample, got);
        EXPECT_EQ(got, expected) << ranks;
      }
      std::vector<float> one(static_cast<std::size_t>(model.spec.hidden));
      EXPECT_THROW(rows.copy(std::vector<std::int32_t>{6}, one), Error);
      if (ranks > 1) {
        EXPECT_THROW(rows.copy(std::vector<std::int32_t>{world.rank() == 0 ? 7 : 5}, one), Error);  // of another replica
      }
    });
  }
}

TEST(TokenRows, IdsOutsideTheVocabularyAreAnInputError) {
  const ModelInput model = open_model(kModel);
  run_on_threads(1, [&](Communicator& world) {
    for (const std::int32_t wrong : {-1, 2048}) {
      try {
        TokenRows(model.spec, Plan{}, {{wrong}}, world);
        ADD_FAILURE() << wrong;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ExitCode::kInput);
        EXPECT_NE(std::string(error.what()).find(std::to_string(wrong)), std::string::npos) << error.what();
      }
    }
  });
}

}  // namespace
}  // namespace mpiquant
