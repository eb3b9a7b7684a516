#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "src/base/error.h"
#include "tests/plan/resolved.h"

namespace mpiquant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string usage_error(const Recipe& recipe, const ModelSpec& model) {
  try {
    resolve(recipe, model);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(Rule, ReadsChoicesAfterTheLastColon) {
  const Rule rule = parse_rule("re:layers\\.[01]:\\w:bits=8,group_size=64,sym=false");
  EXPECT_EQ(rule.pattern, "re:layers\\.[01]:\\w");
  EXPECT_EQ(rule.bits, 8);
  EXPECT_EQ(rule.group_size, 64);
  EXPECT_EQ(rule.symmetric, false);
  EXPECT_TRUE(parse_rule("*down_proj:dense").dense);
  EXPECT_EQ(parse_rule("*v_proj:bits=8,codec=q8_0").codec, "q8_0");
}

TEST(Rule, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"down_proj", ":dense", "x:", "x:bits=5", "x:bits=four", "x:group_size=0", "x:colour=red",
                           "x:sym=maybe", "x:codec=q9_0", "x:codec=f16", "x:codec=", "x:dense,codec=q8_0"})
    EXPECT_THROW(parse_rule(text), Error) << text;
}

TEST(Rule, PatternsAreWildcardsOrRegularExpressions) {
  EXPECT_TRUE(matches(parse_rule("*.down_proj:dense"), "model.layers.3.mlp.down_proj"));
  EXPECT_FALSE(matches(parse_rule("down_proj:dense"), "model.layers.3.mlp.down_proj"));
  EXPECT_TRUE(matches(parse_rule("re:layers\\.3\\.:dense"), "model.layers.3.mlp.down_proj"));
  EXPECT_FALSE(matches(parse_rule("re:layers\\.3\\.:dense"), "model.layers.13.mlp.down_proj"));
}

TEST(Recipe, TheFirstRuleThatMatchesDecides) {
  Recipe recipe;
  recipe.rules = {parse_rule("*layers.0.*:bits=8"), parse_rule("*:bits=2,group_size=64")};
  const auto outputs = resolve(recipe, sample_model());
  for (const LinearChoice& choice : outputs.front().linears) {
    const bool first = choice.linear.module.find("layers.0.") != std::string::npos;
    EXPECT_EQ(choice.codec.bits, first ? 8 : 2) << choice.linear.module;
    EXPECT_EQ(choice.codec.group_size, first ? 128 : 64);
  }
}

TEST(Recipe, DenseRulesMoveALinearToTheFloats) {
  Recipe recipe;
  recipe.rules = {parse_rule("*down_proj:dense")};
  const auto outputs = resolve(recipe, sample_model(4));
  EXPECT_EQ(outputs[0].linears.size(), 4U * 6U);
  EXPECT_EQ(outputs[0].dense.size(), 3U + 4U * 2U + 4U);
}

TEST(Recipe, RaggedGroupsAreRefusedWithTheLargestThatFits) {
  Recipe recipe;
  recipe.rules = {parse_rule("*down_proj:group_size=512")};  // does not divide its 768 columns
  ModelSpec model = sample_model();
  const std::string message = usage_error(recipe, model);
  EXPECT_THAT(message, HasSubstr("--group-size 256"));
  recipe.ragged_dense = true;
  std::vector<std::string> notes;
  const auto outputs = resolve(recipe, model, &notes);
  EXPECT_EQ(outputs[0].linears.size(), 4U * 6U);
  EXPECT_EQ(notes.size(), 4U);
  recipe.ragged_dense = false;
  recipe.ragged_groups = {{"*", 64}};
  const auto grouped = resolve(recipe, model);
  for (const LinearChoice& choice : grouped.front().linears)
    EXPECT_EQ(choice.codec.group_size, choice.linear.cols == 768 ? 64 : 128);
}

TEST(Recipe, TheDenseContainerTakesRaggedGroups) {
  Recipe recipe;
  recipe.group_size = 100;
  recipe.outputs = parse_outputs("dense");
  EXPECT_EQ(resolve(recipe, sample_model()).front().linears.front().codec.group_size, 100);
}

TEST(Recipe, BareGgufFollowsBitsAndSymmetry) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gguf");
  EXPECT_EQ(resolve(recipe, sample_model()).front().gguf_type, "q4_0");
  recipe.symmetric = false;
  EXPECT_EQ(resolve(recipe, sample_model()).front().gguf_type, "q4_1");
  recipe.bits = 8;
  EXPECT_EQ(resolve(recipe, sample_model()).front().gguf_type, "q8_0");
  recipe.bits = 3;
  EXPECT_THAT(usage_error(recipe, sample_model()), HasSubstr("gguf at 3 bits"));
}

TEST(Recipe, AQuantizedTiedHeadNeedsUntying) {
  Recipe recipe;
  recipe.quantize_head = true;
  EXPECT_THAT(usage_error(recipe, sample_model(2, true)), HasSubstr("--untie"));
  recipe.untie = true;
  EXPECT_TRUE(resolve(recipe, sample_model(2, true)).front().untied);
}

TEST(Recipe, RulesGiveGgufFilesOtherTypes) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gguf:q4_0,gptq,dense:q4_1");
  recipe.rules = {parse_rule("*down_proj:codec=q8_0"), parse_rule("*v_proj:bits=8,codec=q4_1"), parse_rule("*o_proj:bits=2")};
  const auto outputs = resolve(recipe, sample_model());
  const auto codec = [&](std::size_t output, const std::string& name) {
    const auto& linears = outputs[output].linears;
    const std::string module = "model.layers.1." + name;
    return to_string(std::ranges::find(linears, module, [](const LinearChoice& of) { return of.linear.module; })->codec);
  };
  const char* const names[] = {"mlp.down_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"};
  const char* const expected[][4] = {{"q8_0", "q4_1", "q4_0", "q4_0"},
                                     {"int4 g128 sym", "int8 g128 sym", "int2 g128 sym", "int4 g128 sym"},
                                     {"q8_0", "q4_1", "q4_1", "q4_1"}};
  for (std::size_t o = 0; o < 3; ++o)
    for (std::size_t n = 0; n < 4; ++n) EXPECT_EQ(codec(o, names[n]), expected[o][n]) << o << " " << names[n];
}

TEST(Recipe, WhatChangesNothingIsTold) {
  const ModelSpec model = sample_model();
  const auto idle = [&](const std::string& formats, const std::function<void(Recipe&)>& change) {
    Recipe recipe;
    recipe.outputs = parse_outputs(formats);
    change(recipe);
    return idle_choices(recipe, model, resolve(recipe, model));
  };
  EXPECT_THAT(idle("gptq", [](Recipe&) {}), IsEmpty());
  EXPECT_THAT(idle("gguf:q4_0", [](Recipe&) {}), IsEmpty());
  EXPECT_THAT(idle("gguf:q8_0", [](Recipe& recipe) { recipe.bits = 8; }), IsEmpty()) << "that is its width";
  EXPECT_THAT(idle("gptq,gguf:q4_0", [](Recipe& recipe) { recipe.bits = 8; }), IsEmpty()) << "of one of them";
  EXPECT_THAT(
      idle("gguf:q4_0",
           [](Recipe& recipe) {
             recipe.bits = 3;
             recipe.symmetric = false;
             recipe.group_size = 64;
             recipe.mse = true;
           }),
      ElementsAre(HasSubstr("bits = 3"), HasSubstr("group_size = 64"), HasSubstr("sym = false"), HasSubstr("mse = true")));
  const auto with_rules = [](Recipe& recipe) {
    recipe.rules = {parse_rule("*down:dense"), parse_rule("*o_proj:bits=8"), parse_rule("*v_proj:dense")};
  };
  EXPECT_THAT(idle("gptq", with_rules), ElementsAre(HasSubstr("\"*down\" matches no linear")));
  const auto with_codec = [](Recipe& recipe) { recipe.rules = {parse_rule("*o_proj:codec=q8_0")}; };
  EXPECT_THAT(idle("gptq,gguf:q4_0", with_codec), IsEmpty());
  EXPECT_THAT(idle("gptq", with_codec), ElementsAre(HasSubstr("\"*o_proj\" changes nothing")));
  EXPECT_THAT(idle("gguf:q4_0", with_rules),
              ElementsAre(HasSubstr("\"*down\" matches no linear"), HasSubstr("\"*o_proj\" changes nothing")));
}

TEST(Recipe, PropagationNamesAnOutput) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gptq,dense");
  const auto outputs = resolve(recipe, sample_model());
  EXPECT_EQ(propagated_output(recipe, outputs), 0U);
  recipe.propagate = "dense";
  EXPECT_EQ(propagated_output(recipe, outputs), 1U);
  recipe.propagate = "original";
  EXPECT_FALSE(propagated_output(recipe, outputs).has_value());
  recipe.propagate = "awq";
  EXPECT_THROW(propagated_output(recipe, outputs), Error);
  recipe.propagate.clear();
  recipe.schedule = Schedule::kStaged;
  recipe.stages = 2;
  EXPECT_FALSE(propagated_output(recipe, outputs).has_value());
}

}  // namespace
}  // namespace mpiquant
