#include "src/plan/recipe_yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "src/base/error.h"
#include "src/plan/output_choice.h"
#include "src/plan/recipe_fields.h"
#include "tests/plan/sample_model.h"

namespace mpiquant {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

RunChoices parse(const std::string& body) { return parse_recipe_yaml("version: 1\n" + body, "r.yaml"); }

// The message of a refusal; every one is a usage error that begins with the file.
std::string refusal_of(const std::string& text) {
  try {
    parse_recipe_yaml(text, "r.yaml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage) << text;
    EXPECT_THAT(error.what(), StartsWith("r.yaml")) << text;
    return error.what();
  }
  ADD_FAILURE() << "accepted:\n" << text;
  return "";
}
std::string refusal_below(const std::string& body) { return refusal_of("version: 1\n" + body); }

// `key: value` of a field, in its section.
std::string line_of(const RecipeField& field, const std::string& value) {
  const std::string pair = fmt::format("{}: {}", field.key, value);
  return field.section.empty() ? pair + "\n" : fmt::format("{}:\n  {}\n", field.section, pair);
}
std::string quoted(std::string_view text) { return fmt::format("\"{}\"", text); }

TEST(RecipeYaml, NothingButTheVersionIsTheDefaults) {
  const RunChoices choices = parse("");
  for (const RecipeField& field : recipe_fields()) EXPECT_EQ(field.shown(choices), field.shown(RunChoices{})) << field.path();
  EXPECT_EQ(identity_json(choices.recipe), identity_json(Recipe{}));
}

TEST(RecipeYaml, EveryFieldTakesItsExampleAndChangesThatValueAlone) {
  for (const RecipeField& field : recipe_fields()) {
    if (field.key == "rules") continue;  // mappings in a file, below
    std::string value = field.kind == FieldKind::kSwitch ? std::string(field.example) : quoted(field.example);
    if (field.key == "outputs") value = "[" + value + "]";
    const RunChoices choices = parse(line_of(field, value));
    for (const RecipeField& other : recipe_fields()) {
      if (other.path() == field.path()) continue;
      EXPECT_EQ(other.shown(choices), other.shown(RunChoices{})) << field.path() << " changed " << other.path();
    }
    if (field.key == "ragged") {
      EXPECT_TRUE(choices.recipe.ragged_dense);
      continue;  // has no text of its own
    }
    EXPECT_EQ(field.shown(choices), field.example) << field.path();
    EXPECT_NE(std::string(field.example), field.shown(RunChoices{})) << field.path() << ": the example is the default";
  }
}

TEST(RecipeYaml, OptionsAndKeysAreUnique) {
  std::set<std::string> options, paths;
  for (const RecipeField& field : recipe_fields()) {
    EXPECT_TRUE(options.insert(std::string(field.option)).second) << field.option;
    EXPECT_TRUE(paths.insert(field.path()).second) << field.path();
    EXPECT_FALSE(field.help.empty());
    EXPECT_EQ(find_recipe_field(field.section, field.key), &field);
  }
  EXPECT_EQ(find_recipe_field("", "nothing"), nullptr);
  EXPECT_EQ(find_recipe_field("gates", "bits"), nullptr);
}

// A wrong value of each field, with what the message must say. Every field has at least one.
struct Wrong {
  const char* path;
  const char* value;
  const char* says;
};
constexpr Wrong kWrong[] = {
    {"method", "gtpq", "did you mean \"gptq\""},
    {"method", "[gptq]", "one value"},
    {"bits", "5", "bits = 5"},
    {"bits", "four", "whole number"},
    {"bits", "4.0", "whole number"},
    {"bits", "", "no value"},
    {"bits", "!!int 4", "tag"},
    {"bits", "99999999999999999999", "whole number"},
    {"group_size", "0", "group_size = 0"},
    {"group_size", "-2", "group_size = -2"},
    {"group_size", "9223372036854775807", "group_size = 9223372036854775807"},
    {"sym", "yes", "true nor false"},
    {"sym", "1", "true nor false"},
    {"act_order", "statik", "did you mean \"static\""},
    {"transforms", "rotation", "unknown (known: rotate, none)"},
    {"damp_percent", "0", "damp_percent = 0"},
    {"damp_percent", "1", "damp_percent = 1"},
    {"damp_percent", "nan", "not a number"},
    {"damp_increment", "2", "damp_increment = 2"},
    {"damp_increment", "inf", "not a number"},
    {"gptaq_alpha", "1.5", "gptaq_alpha = 1.5"},
    {"gptaq_alpha", "-0.5", "between 0 and 1"},
    {"mse", "maybe", "true nor false"},
    {"true_sequential", "True", "true nor false"},
    {"ragged", "keep", "PATTERN=GROUP_SIZE"},
    {"ragged", "[\"*=64\", \"*=32\"]", "twice"},
    {"ragged", "\"*=0\"", "group_size = 0"},
    {"lm_head", "2", "true nor false"},
    {"untie", "~", "no value"},
    {"propagate", "{}", "one value"},
    {"unit_samples", "-1", "unit_samples = -1"},
    {"outputs", "gptq", "a list"},
    {"outputs", "[]", "empty"},
    {"outputs", "[gtpq]", "did you mean \"gptq\""},
    {"outputs", "[\"gguf:q4_2\"]", "q4_2"},
    {"outputs", "[\"gptq:q4_0\"]", "takes no codec"},
    {"outputs", "[\"dense:dense\"]", "no codec"},
    {"outputs", "[[gptq]]", "one value"},
    {"outputs", "[{codec: q4_0}]", "no container"},
    {"outputs", "[{container: gguf, codex: q4_0}]", "did you mean \"codec\""},
    {"outputs", "[{container: gptq, rules: {}}]", "rules is a list"},
    {"outputs", "[{container: gptq, container: gguf}]", "twice"},
    {"compute", "fp32", "did you mean \"f32\""},
    {"dense_dtype", "float64", "did you mean"},
    {"embedding_type", "q9_0", "did you mean"},
    {"output_type", "int", "known: "},
    {"gguf_pre", "[a, b]", "one value"},
    {"max_shard_size", "5GiB", "no size"},
    {"max_shard_size", "0", "no size"},
    {"max_shard_size", "-5", "no size"},
    {"max_shard_size", "9999999999GB", "no size"},
    {"calibration.files", "{a: b}", "one value"},
    {"calibration.files", "[a, [b]]", "one value"},
    {"calibration.texts", "~", "no value"},
    {"calibration.ids", "[a]", "one value"},
    {"calibration.token_store", "[a]", "one value"},
    {"calibration.nsamples", "0", "nsamples = 0"},
    {"calibration.seqlen", "0", "seqlen = 0"},
    {"calibration.shuffle", "on", "true nor false"},
    {"calibration.seed", "-1", "0 or more"},
    {"calibration.split_on", "~", "no value"},
    {"calibration.bos", "allways", "did you mean \"always\""},
    {"calibration.field", "\"\"", "field is empty"},
    {"calibration.python", "\"\"", "python is empty"},
    {"distribution.schedule", "stagd", "did you mean \"staged\""},
    {"distribution.stages", "0", "stages = 0"},
    {"gates.max_fallbacks", "none", "whole number"},
    {"gates.max_damping_retries", "-2", "no limit"},
    {"gates.max_clipped_scales", "1.5", "whole number"},
};

TEST(RecipeYaml, WrongValuesOfEveryFieldAreRefusedWithTheirPlace) {
  std::set<std::string> covered = {"rules"};
  for (const Wrong& wrong : kWrong) {
    const std::string path = wrong.path;
    const std::size_t dot = path.find('.');
    const RecipeField* field =
        dot == std::string::npos ? find_recipe_field("", path) : find_recipe_field(path.substr(0, dot), path.substr(dot + 1));
    ASSERT_NE(field, nullptr) << path;
    covered.insert(path);
    const std::string message = refusal_below(line_of(*field, wrong.value));
    EXPECT_THAT(message, HasSubstr(wrong.says)) << path << ": " << wrong.value;
    EXPECT_THAT(message, StartsWith(dot == std::string::npos ? "r.yaml:2:" : "r.yaml:3:")) << path << ": " << wrong.value;
  }
  for (const RecipeField& field : recipe_fields())
    EXPECT_TRUE(covered.contains(field.path())) << field.path() << " has no wrong value";
}

TEST(RecipeYaml, UnknownKeysGetTheNearestName) {
  EXPECT_THAT(refusal_below("grup_size: 64\n"), StartsWith("r.yaml:2:1: unknown key \"grup_size\" did you mean \"group_size\"?"));
  EXPECT_THAT(refusal_below("group-size: 64\n"), HasSubstr("did you mean \"group_size\"?"));
  EXPECT_THAT(refusal_below("bits: 4\ncalibraton: {}\n"),
              StartsWith("r.yaml:3:1: unknown key \"calibraton\" did you mean \"calibration\"?"));
  EXPECT_THAT(refusal_below("gates:\n  max_fallback: 0\n"), StartsWith("r.yaml:3:3: unknown key \"gates.max_fallback\""));
  EXPECT_THAT(refusal_below("verison: 1\n"), HasSubstr("did you mean \"version\"?"));
  EXPECT_THAT(refusal_below("colour: red\n"), HasSubstr("known: version"));  // nothing is near
}

TEST(RecipeYaml, KeysInTheWrongPlaceAreTold) {
  EXPECT_THAT(refusal_below("seqlen: 512\n"), HasSubstr("its place is \"calibration.seqlen\""));
  EXPECT_THAT(refusal_below("calibration:\n  bits: 4\n"), HasSubstr("its place is \"bits\""));
  EXPECT_THAT(refusal_below("calibration: 4\n"), HasSubstr("mapping"));
  EXPECT_THAT(refusal_below("gates: []\n"), HasSubstr("mapping"));
}

TEST(RecipeYaml, KeysGivenTwiceAreRefused) {
  EXPECT_THAT(refusal_below("bits: 4\nbits: 4\n"), StartsWith("r.yaml:3:1: the key \"bits\" is given twice (first in line 2)"));
  EXPECT_THAT(refusal_below("calibration:\n  seed: 1\n  seed: 1\n"),
              StartsWith("r.yaml:4:3: the key \"calibration.seed\" is given twice"));
  EXPECT_THAT(refusal_below("calibration: {}\ncalibration: {}\n"), HasSubstr("twice"));
  EXPECT_THAT(refusal_below("version: 1\n"), HasSubstr("twice"));
  EXPECT_THAT(refusal_below("rules:\n  - {pattern: a, bits: 4, bits: 8}\n"), HasSubstr("twice"));
}

TEST(RecipeYaml, GatesThatNeedAnEvaluationAreRefusedByName) {
  for (const char* gate : {"max_perplexity_rise", "max_kl"}) {
    const std::string message = refusal_below(fmt::format("gates:\n  {}: 0.1\n", gate));
    EXPECT_THAT(message, StartsWith(fmt::format("r.yaml:3:3: gates.{} cannot be checked by quantize", gate)));
    EXPECT_THAT(message, HasSubstr("mpiquant evaluate"));
  }
}

TEST(RecipeYaml, GatesAreLimits) {
  const Gates gates = parse("gates: {max_fallbacks: 0, max_damping_retries: 3, max_clipped_scales: -1}\n").gates;
  EXPECT_EQ(gates.max_fallbacks, 0);
  EXPECT_EQ(gates.max_damping_retries, 3);
  EXPECT_FALSE(gates.max_clipped_scales.has_value());
}

TEST(RecipeYaml, TheVersionIsOne) {
  EXPECT_THAT(refusal_of("bits: 4\n"), HasSubstr("no version"));
  EXPECT_THAT(refusal_of("version: 2\n"), StartsWith("r.yaml:1:10: version 2 is unknown"));
  EXPECT_THAT(refusal_of("version: one\n"), HasSubstr("version one"));
}

TEST(RecipeYaml, OnlyOneMappingIsARecipe) {
  for (const char* text : {"", "[]", "4", "- version: 1", "? [a]\n: 1"}) refusal_of(text);
  EXPECT_THAT(refusal_of("version: 1\n---\nversion: 1\n"), HasSubstr("one document"));
  // yaml-cpp finds documents without end in this.
  EXPECT_THAT(refusal_of(",version: 1\n'description: x\n  near\"gguf:q4_0\"]\n"), HasSubstr("recipe"));
  EXPECT_THAT(refusal_of("version: 1\nbits: [4\n"), HasSubstr("no YAML"));
  EXPECT_THAT(refusal_of("version: 1\nbits: \t\"4\n"), StartsWith("r.yaml:"));
  EXPECT_THAT(refusal_of("version: 1\ngguf_pre: \xff\xfe\n"), HasSubstr("UTF-8"));
  refusal_of(std::string(5000, '['));
  refusal_of("version: 1\nrules: &a [*a]\n");
}

TEST(RecipeYaml, Transforms) {
  parse("transforms: []\n");
  EXPECT_EQ(parse("transforms: [rotate]\n").recipe.transforms, std::vector<std::string>{"rotate"});
  EXPECT_THAT(refusal_below("transforms: [rotat]\n"), StartsWith("r.yaml:2:13: transforms = \"rotat\" is unknown"));
  EXPECT_TRUE(parse("transforms: [none]\n").recipe.transforms.empty());
  EXPECT_THAT(refusal_below("transforms: [rotate, none]\n"), HasSubstr("contradict"));
  EXPECT_THAT(refusal_below("transforms: [rotate, rotate]\n"), HasSubstr("given twice"));
}

TEST(RecipeYaml, RulesAreThoseOfTheCommandLine) {
  const RunChoices choices = parse(R"(rules:
  - {pattern: "*.down_proj", bits: 8, group_size: 64, sym: false, codec: q8_0}
  - pattern: re:layers\.0\.
    dense: true
)");
  const auto& rules = choices.recipe.rules;
  ASSERT_EQ(rules.size(), 2U);
  Recipe same;
  same.rules = {parse_rule("*.down_proj:bits=8,group_size=64,sym=false,codec=q8_0"), parse_rule("re:layers\\.0\\.:dense")};
  EXPECT_EQ(identity_json(choices.recipe), identity_json(same));
}

TEST(RecipeYaml, WrongRulesAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"rules: {}\n", "list"},
      {"rules: [x]\n", "mapping"},
      {"rules:\n  - {bits: 4}\n", "no pattern"},
      {"rules:\n  - {pattern: \"*\"}\n", "says nothing"},
      {"rules:\n  - {pattern: \"*\", dense: false}\n", "says nothing"},
      {"rules:\n  - {pattern: \"*\", dense: true, bits: 4}\n", "dense"},
      {"rules:\n  - {pattern: \"*\", bits: 5}\n", "bits = 5"},
      {"rules:\n  - {pattern: \"*\", bits: x}\n", "rules.bits"},
      {"rules:\n  - {pattern: \"*\", group_size: 0}\n", "group_size = 0"},
      {"rules:\n  - {pattern: \"*\", sym: no}\n", "rules.sym"},
      {"rules:\n  - {pattern: \"*\", codec: q9}\n", "no quantized GGUF type (known: q4_0, q4_1, q8_0)"},
      {"rules:\n  - {pattern: \"*\", dense: 1}\n", "rules.dense"},
      {"rules:\n  - {pattern: \"re:[\", bits: 4}\n", "regular expression"},
      {"rules:\n  - {pattern: \"*\", group-size: 64}\n", "did you mean \"group_size\""},
      {"rules:\n  - {pattern: [a], bits: 4}\n", "one value"},
  };
  for (const auto& [body, says] : cases) EXPECT_THAT(refusal_below(body), HasSubstr(says)) << body;
  EXPECT_THAT(refusal_below("rules:\n  - {pattern: \"*\", bits: 5}\n"), StartsWith("r.yaml:3:"));
}

TEST(RecipeYaml, OutputsAreNamesOrMappings) {
  EXPECT_EQ(to_text(parse("outputs: [gptq, {container: gguf, codec: q4_0}, \"dense:gptq\", {container: compressed-tensors}]\n")
                        .recipe.outputs),
            "gptq,gguf:q4_0,dense:gptq,compressed-tensors");
}

TEST(RecipeYaml, ListsMayBeOneValue) {
  EXPECT_THAT(parse("calibration: {files: a.txt}\n").calibration.files, ElementsAre("a.txt"));
  EXPECT_THAT(parse("calibration: {files: [a.txt, \"hf:c4\"]}\n").calibration.files, ElementsAre("a.txt", "hf:c4"));
}

TEST(Choices, AreCheckedTogether) {
  RunChoices choices = parse("distribution: {stages: 2}\n");
  EXPECT_THROW(check_choices(choices), Error);
  choices.recipe.schedule = Schedule::kStaged;
  check_choices(choices);
  choices.calibration.ids = "ids.json";
  check_choices(choices);
  choices.calibration.texts = {"text"};
  EXPECT_THROW(check_choices(choices), Error);
}

TEST(Choices, SizesArePowersOfTen) {
  EXPECT_EQ(parse_bytes("4096", "size"), 4096);
  EXPECT_EQ(parse_bytes("2KB", "size"), 2000);
  EXPECT_EQ(parse_bytes("500MB", "size"), 500'000'000);
  EXPECT_EQ(parse_bytes("5G", "size"), 5'000'000'000);
  for (const char* text : {"", "GB", "5 GB", "5gb", "1e3", "-1"}) EXPECT_THROW(parse_bytes(text, "size"), Error) << text;
}

std::string text_of(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// The recipes that come with the program parse, say what they are, and fit a Llama-like model.
TEST(BundledRecipes, ParseAndResolve) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MPIQUANT_SOURCE_DIR "/configs/recipes")) {
    const std::string name = entry.path().filename().string();
    ASSERT_EQ(entry.path().extension(), ".yaml") << name;
    const RunChoices choices = parse_recipe_yaml(text_of(entry.path()), name);
    check_choices(choices);
    EXPECT_FALSE(choices.description.empty()) << name;
    for (const bool tied : {false, true}) {
      std::vector<std::string> notes;
      const ModelSpec model = sample_model(2, tied);
      const auto outputs = resolve_outputs(choices.recipe, model, sample_dtypes(model), notes);
      EXPECT_EQ(outputs.size(), choices.recipe.outputs.size()) << name;
      EXPECT_TRUE(notes.empty()) << name;
      propagated_output(choices.recipe, outputs);
    }
    ++count;
  }
  EXPECT_GE(count, 8U);
}

TEST(Documents, TheRecipeWithEverythingIsOne) {
  const std::string page = text_of(MPIQUANT_SOURCE_DIR "/docs/recipes.md");
  const std::string fence = "```yaml\n";
  const std::size_t begin = page.find(fence);
  ASSERT_NE(begin, std::string::npos);
  const RunChoices choices =
      parse_recipe_yaml(page.substr(begin + fence.size(), page.find("```", begin + 3) - begin - fence.size()), "page");
  check_choices(choices);
  EXPECT_EQ(choices.recipe.rules.size(), 2U);
  EXPECT_EQ(choices.gates.max_clipped_scales, 0);
}

// The document names every key with its default and example, and the option it corresponds to.
TEST(Documents, RecipesPageHasEveryKey) {
  const std::string page = text_of(MPIQUANT_SOURCE_DIR "/docs/recipes.md");
  for (const RecipeField& field : recipe_fields()) {
    const std::string fallback = field.shown(RunChoices{});
    const std::string row =
        fmt::format("| `{}` | `--{}` | {} |", field.path(), field.option, fallback.empty() ? "" : "`" + fallback + "`");
    EXPECT_THAT(page, HasSubstr(row));
  }
}

}  // namespace
}  // namespace mpiquant
