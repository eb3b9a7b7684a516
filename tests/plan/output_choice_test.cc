#include "src/plan/output_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

#include "src/base/error.h"
#include "src/plan/recipe_yaml.h"
#include "tests/plan/resolved.h"

namespace mpiquant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The message of a list of outputs that is refused, by itself or beside its neighbours.
std::string refusal(const std::string& text) {
  try {
    Recipe recipe;
    recipe.outputs = parse_outputs(text);
    check_recipe(recipe);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << text;
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return "";
}

std::string yaml_refusal(const std::string& body) {
  try {
    parse_recipe_yaml("version: 1\n" + body, "r.yaml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << body;
    return error.what();
  }
  ADD_FAILURE() << "accepted:\n" << body;
  return "";
}

std::vector<std::string> labels(const std::vector<OutputChoice>& outputs) {
  std::vector<std::string> out;
  for (const OutputChoice& output : outputs) out.push_back(output.label());
  return out;
}

const CodecSpec& codec_of(const OutputSpec& output, const std::string& module) {
  for (const LinearChoice& choice : output.linears)
    if (choice.linear.module == module) return choice.codec;
  throw std::out_of_range(module);
}

TEST(OutputChoice, CommasInBracketsDoNotSplit) {
  const auto outputs = parse_outputs("gptq[bits=3,group_size=64,name=small],gguf:q4_0,dense:gptq[mse=true]");
  EXPECT_THAT(labels(outputs), ElementsAre("small", "gguf:q4_0", "dense:gptq"));
  EXPECT_EQ(outputs[0].own.at("bits").front(), "3");
  EXPECT_EQ(outputs[0].own.at("group_size").front(), "64");
  EXPECT_EQ(outputs[1].folder(), "gguf-q4_0");
  EXPECT_TRUE(outputs[1].own.empty());
}

TEST(OutputChoice, InnerBracketsHoldCommasOfTheirOwn) {
  const auto outputs =
      parse_outputs("gptq[rule=[*.layers.[01].*:bits=8,sym=false],rule=*.o_proj:dense,ragged=dense,ragged=*.down_proj=32]");
  ASSERT_EQ(outputs[0].rules.size(), 2U);
  EXPECT_EQ(outputs[0].rules[0].pattern, "*.layers.[01].*");
  EXPECT_EQ(outputs[0].rules[0].bits, 8);
  EXPECT_EQ(outputs[0].rules[0].symmetric, false);
  EXPECT_TRUE(outputs[0].rules[1].dense);
  EXPECT_THAT(outputs[0].own.at("ragged"), ElementsAre("dense", "*.down_proj=32"));
}

TEST(OutputChoice, TextAndYamlAreTheSame) {
  const std::string text =
      "gptq[name=small,bits=3,group_size=64,max_shard_size=2GB,rule=[*.down_proj:bits=8,sym=false]],"
      "gguf:q4_0[output_type=q8_0,transforms=rotate,rule=*.v_proj:codec=q8_0]";
  const Recipe recipe = parse_recipe_yaml(R"(version: 1
outputs:
  - container: gptq
    name: small
    bits: 3
    group_size: 64
    max_shard_size: 2GB
    rules: [{pattern: "*.down_proj", bits: 8, sym: false}]
  - {container: gguf, codec: q4_0, output_type: q8_0, transforms: rotate, rules: [{pattern: "*.v_proj", codec: q8_0}]}
)",
                                          "r.yaml")
                            .recipe;
  EXPECT_EQ(to_text(recipe.outputs), to_text(parse_outputs(text)));
  EXPECT_EQ(to_text(parse_outputs(to_text(recipe.outputs))), to_text(recipe.outputs));
}

// Every difference shows in the text, which identifies a run.
TEST(OutputChoice, DifferentOutputsHaveDifferentTexts) {
  std::set<std::string> texts;
  for (const char* text :
       {"gptq", "gptq[name=a]", "gptq[bits=3]", "gptq[bits=2]", "gptq[group_size=32]", "gptq[sym=false]", "gptq[mse=true]",
        "gptq[transforms=rotate]", "gptq[transforms=none]", "gptq[rule=*:bits=3]", "gptq[rule=*:bits=2]",
        "gptq[rule=*:sym=false]", "gptq[rule=*:dense]", "gguf[rule=*:codec=q8_0]", "gguf[rule=*:codec=q4_1]",
        "gptq[lm_head=true]", "gptq,gguf", "gptq[ragged=dense]", "gptq[ragged=*=32]"})
    EXPECT_TRUE(texts.insert(to_text(parse_outputs(text))).second) << text;
}

TEST(OutputChoice, EveryOwnKeyIsAFieldThatTakesItsExample) {
  for (const std::string& key : own_keys()) {
    const RecipeField* field = find_recipe_field("", key);
    ASSERT_NE(field, nullptr) << key;
    OutputChoice output;
    const std::string example =
        field->kind == FieldKind::kSwitch && field->shown(RunChoices{}) == "true" ? "false" : std::string(field->example);
    set_own(output, key, {key, {example}});
    RunChoices own;
    own.recipe = recipe_of(Recipe{}, output);
    for (const RecipeField& other : recipe_fields())
      EXPECT_EQ(other.shown(own) != other.shown(RunChoices{}), other.key == key && !field->shown(own).empty())
          << key << " and " << other.path();
  }
}

TEST(OutputChoice, WhatIsUnknownIsRefusedWithTheNearest) {
  const std::pair<const char*, const char*> cases[] = {
      {"gptq[grup_size=64]", "did you mean \"group_size\""},
      {"gptq[rules=x:dense]", "did you mean \"rule\""},
      {"gptq[damp_percent=0.1]", "unknown key \"damp_percent\" in an output"},
      {"gptq[bits=5]", "gptq[bits=5]: bits = 5"},
      {"gptq[bits=x]", "bits = \"x\" is not a whole number"},
      {"gptq[bits]", "bits has no value"},
      {"gptq[bits=3,bits=4]", "bits is given twice"},
      {"gptq[group_size=0]", "group_size = 0"},
      {"gptq[sym=no]", "neither true nor false"},
      {"gptq[rule=x]", "has no choice"},
      {"gptq[rule=x:bits=9]", "bits = 9"},
      {"gpqt[bits=3]", "did you mean \"gptq\""},
      {"gguf:q40", "did you mean \"q4_0\""},
      {"gptq[bits=3", "[ without its ]"},
      {"gptq]bits=3[", "] without its ["},
      {"gptq[bits=3]x", "something follows"},
      {"gptq[]", "unknown key"},
      {"gptq[name=]", "cannot name an output"},
      {"gptq[name=a/b]", "cannot name an output"},
      {"gptq[name=..]", "cannot name an output"},
      {"gptq[name=original]", "cannot name an output"},
      {"", "is empty"},
  };
  for (const auto& [text, says] : cases) EXPECT_THAT(refusal(text), HasSubstr(says)) << text;
}

TEST(OutputChoice, WhatWouldHaveNoEffectIsRefused) {
  for (const char* text : {"gguf:q4_0[bits=3]", "gguf:q4_0[group_size=64]", "gguf[group_size=64]", "gguf:q8_0[sym=false]",
                           "gguf[mse=true]", "dense:q4_0[bits=3]", "gptq[dense_dtype=float16]", "gptq[output_type=q8_0]",
                           "dense[embedding_type=q8_0]", "gptq[gguf_pre=llama-bpe]", "gguf[max_shard_size=2GB]",
                           "gguf:q4_0[rule=*:bits=8]", "gptq[rule=*:codec=q8_0]", "gguf:f16[rule=*:codec=q8_0]"})
    EXPECT_THAT(refusal(text), HasSubstr("no effect")) << text;
  for (const char* text :
       {"gguf[bits=8]", "gguf[sym=false]", "dense[bits=3,dense_dtype=float16]", "dense:gptq[group_size=32]",
        "gguf:q4_0[rule=*down_proj:dense,embedding_type=q8_0]", "gguf:q4_0[rule=*down_proj:codec=q8_0]",
        "gguf:Q4_0[rule=*down_proj:codec=q8_0]", "gguf[rule=*down_proj:codec=q8_0]",
        "dense:q4_0[rule=[*down_proj:bits=8,codec=q8_0]]", "compressed-tensors[mse=true,ragged=dense]", "gguf[transforms=none]"})
    EXPECT_EQ(parse_outputs(text).size(), 1U) << text;
}

TEST(OutputChoice, EqualNamesAreRefused) {
  EXPECT_THAT(refusal("gptq,gptq[bits=3]"),
              HasSubstr("two outputs are called gptq (each has a folder of its name) give one of them another name"));
  EXPECT_THAT(refusal("gptq[name=a],dense[name=a]"), HasSubstr("called a"));
  EXPECT_THAT(refusal("gguf:q4_0,dense[name=gguf-q4_0]"), HasSubstr("called gguf-q4_0 and gguf:q4_0"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - gptq\n  - {container: gptq, bits: 3}\n"),
              HasSubstr("r.yaml:3:3: two outputs are called gptq"));
}

TEST(OutputChoice, PlacesInAFileAreTold) {
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, bits: 5}\n"), HasSubstr("r.yaml:3:29: bits = 5"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, bits: x}\n"), HasSubstr("r.yaml:3:29: outputs.bits = \"x\""));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, grup_size: 64}\n"),
              HasSubstr("r.yaml:3:23: unknown key \"grup_size\" in an output did you mean \"group_size\"?"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, rules: [{pattern: \"*\", bits: 5}]}\n"),
              HasSubstr("r.yaml:3:52: bits = 5"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gguf, codec: q4_0, bits: 4}\n"),
              HasSubstr("r.yaml:3:5: bits has no effect on gguf:q4_0"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gguf, codec: q40}\n"), HasSubstr("r.yaml:3:5: format \"gguf:q40\""));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, name: a b}\n"), HasSubstr("r.yaml:3:29: outputs.name = \"a b\""));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, bits: [3]}\n"), HasSubstr("one value"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - gptq\n  - \"gptq[bits=5]\"\n"), HasSubstr("r.yaml:4:5: gptq[bits=5]: bits = 5"));
  EXPECT_THAT(yaml_refusal("outputs: []\n"), HasSubstr("nothing would be written"));
  EXPECT_THAT(yaml_refusal("outputs:\n  - {container: gptq, calibration: {}}\n"), HasSubstr("unknown key"));
}

TEST(OutputChoice, WhatIsNotItsOwnComesFromTheRecipe) {
  Recipe recipe;
  recipe.bits = 2;
  recipe.group_size = 32;
  recipe.mse = true;
  recipe.outputs = parse_outputs("gptq[bits=3,name=a],gptq[group_size=64,sym=false,mse=false,name=b],gguf:q4_0,dense:gptq");
  const auto outputs = resolve(recipe);
  const std::string module = "model.layers.0.self_attn.q_proj";
  const auto is = [&](std::size_t o, int bits, std::int64_t group, bool symmetric, bool mse) {
    const CodecSpec& codec = codec_of(outputs[o], module);
    EXPECT_EQ(codec.bits, bits) << o;
    EXPECT_EQ(codec.group_size, group) << o;
    EXPECT_EQ(codec.symmetric, symmetric) << o;
    EXPECT_EQ(codec.mse, mse) << o;
  };
  is(0, 3, 32, true, true);
  is(1, 2, 64, false, false);
  is(2, 4, 32, true, false);
  is(3, 2, 32, true, true);
  EXPECT_EQ(outputs[0].label, "a");
  EXPECT_EQ(outputs[0].folder, "a");
  EXPECT_EQ(outputs[2].folder, "gguf-q4_0");
}

TEST(OutputChoice, ItsOwnRulesAreLookedAtFirst) {
  Recipe recipe;
  recipe.rules = {parse_rule("*.down_proj:bits=8"), parse_rule("*.o_proj:dense")};
  recipe.outputs = parse_outputs("gptq,gptq[bits=3,rule=*layers.0.*:bits=2,rule=*.down_proj:group_size=32,name=small]");
  const auto outputs = resolve(recipe);
  EXPECT_EQ(codec_of(outputs[0], "model.layers.0.mlp.down_proj").bits, 8);
  EXPECT_EQ(codec_of(outputs[0], "model.layers.0.mlp.up_proj").bits, 4);
  EXPECT_EQ(codec_of(outputs[1], "model.layers.0.mlp.down_proj").bits, 2);  // the first of its own
  EXPECT_EQ(codec_of(outputs[1], "model.layers.0.self_attn.o_proj").bits, 2);
  EXPECT_EQ(codec_of(outputs[1], "model.layers.1.mlp.down_proj").bits, 3);  // its second, not the recipe's
  EXPECT_EQ(codec_of(outputs[1], "model.layers.1.mlp.down_proj").group_size, 32);
  EXPECT_EQ(codec_of(outputs[1], "model.layers.1.mlp.up_proj").bits, 3);
  EXPECT_THROW(codec_of(outputs[1], "model.layers.1.self_attn.o_proj"), std::out_of_range);  // the recipe's
}

TEST(OutputChoice, TheHeadMayBeQuantizedInOneOnly) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gptq,gptq[lm_head=true,untie=true,name=whole]");
  const ModelSpec model = sample_model(2, true);
  const auto outputs = resolve(recipe, model);
  EXPECT_TRUE(quantizes_head(outputs, model));
  EXPECT_FALSE(quantizes_head({outputs[0]}, model));
  EXPECT_FALSE(outputs[0].untied);
  EXPECT_TRUE(outputs[1].untied);
  EXPECT_EQ(codec_of(outputs[1], "lm_head").bits, 4);
}

TEST(OutputChoice, ARunWithItAloneHasItsValues) {
  Recipe recipe;
  recipe.rules = {parse_rule("*.o_proj:dense")};
  recipe.outputs = parse_outputs("gptq[bits=3,group_size=64,mse=true,rule=*.down_proj:bits=8,name=small],gguf:q4_0");
  Recipe alone;
  alone.bits = 3;
  alone.group_size = 64;
  alone.mse = true;
  alone.rules = {parse_rule("*.down_proj:bits=8"), parse_rule("*.o_proj:dense")};
  alone.outputs = parse_outputs("gptq[name=small]");
  const Recipe same = recipe_of(recipe, recipe.outputs[0]);
  EXPECT_EQ(identity_json(same), identity_json(alone));
  EXPECT_EQ(to_text(same.outputs), to_text(alone.outputs));
  EXPECT_NE(identity_json(recipe_of(recipe, recipe.outputs[1])), identity_json(alone));
}

TEST(OutputChoice, PropagationNamesALabel) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gptq,gptq[bits=3,name=small]");
  recipe.propagate = "small";
  EXPECT_EQ(propagated_output(recipe, resolve(recipe)), 1U);
  recipe.propagate = "smal";
  try {
    propagated_output(recipe, resolve(recipe));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean \"small\""));
  }
}

TEST(OutputChoice, EachContainerIsCheckedWithItsOwnValues) {
  Recipe recipe;
  recipe.outputs = parse_outputs("gptq,gptq[group_size=512,name=wide]");
  try {
    resolve(recipe);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("group_size 512 does not divide the 256 columns"));
    EXPECT_THAT(error.what(), HasSubstr("readers of wide"));
  }
  recipe.order = ActOrder::kDynamic;
  recipe.outputs = parse_outputs("gptq,gptq[bits=8,name=b],compressed-tensors");
  EXPECT_THROW(resolve(recipe), Error);
}

}  // namespace
}  // namespace mpiquant
