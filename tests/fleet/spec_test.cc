#include "src/fleet/spec.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "src/fleet/backend.h"
#include "tests/fleet/fleet_support.h"

namespace mpiquant {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kFile = R"(version: 1
output: out
defaults:
  options: {group-size: 64}
  evaluate: {text: test.txt, window: 256}
  ranks: 2
families:
  tiny:
    small: ./models/small
    large: org/large
  other:
    small: org/other
recipes:
  int4: {options: {bits: 4}}
  int2: {options: {bits: 2, mse: true}, gates: {max_kl: 0.5}}
exclude:
  - {family: other, recipe: int2}
include:
  - {family: extra, size: huge, recipe: int4, model: org/huge}
overrides:
  - {family: tiny, size: "l*", options: {group-size: 128}, ranks: 4, gates: {max_perplexity_rise: 5%}}
)";

std::vector<std::string> names(const FleetSpec& spec) {
  std::vector<std::string> out;
  for (const FleetJob& job : spec.jobs) out.push_back(job.name());
  return out;
}

const FleetJob& job(const FleetSpec& spec, const std::string& name) {
  return *std::find_if(spec.jobs.begin(), spec.jobs.end(), [&](const FleetJob& other) { return other.name() == name; });
}

TEST(FleetSpec, ExpandsTheMatrix) {
  const TestFolder folder;
  const FleetSpec spec = read_fleet(folder.write("night.yaml", kFile), test_catalog());
  EXPECT_EQ(spec.name, "night");
  EXPECT_EQ(spec.state, folder.path("out/fleet-state"));
  EXPECT_THAT(names(spec), ElementsAre("tiny-small-int4", "tiny-small-int2", "tiny-large-int4", "tiny-large-int2",
                                       "other-small-int4", "extra-huge-int4"));
  EXPECT_EQ(job(spec, "tiny-small-int4").model, folder.path("models/small"));
  EXPECT_EQ(job(spec, "tiny-large-int4").model, "org/large");
  EXPECT_EQ(job(spec, "extra-huge-int4").model, "org/huge");
  EXPECT_EQ(job(spec, "tiny-small-int2").output, folder.path("out/tiny-small/int2"));
}

TEST(FleetSpec, LaysSettingsOverEachOther) {
  const TestFolder folder;
  const FleetSpec spec = read_fleet(folder.write("night.yaml", kFile), test_catalog());
  const FleetSettings& small = job(spec, "tiny-small-int2").settings;
  EXPECT_EQ(small.options.at("group-size").front(), "64");
  EXPECT_EQ(small.ranks, 2);
  EXPECT_EQ(small.gates.max_kl, 0.5);
  EXPECT_FALSE(small.gates.max_perplexity_rise);
  const FleetSettings& large = job(spec, "tiny-large-int2").settings;
  EXPECT_EQ(large.options.at("group-size").front(), "128");
  EXPECT_EQ(large.ranks, 4);
  EXPECT_EQ(large.gates.max_kl, 0.5);
  EXPECT_DOUBLE_EQ(*large.gates.max_perplexity_rise, 0.05);
  Attempt attempt{job(spec, "tiny-large-int2"), "state/key", "tag"};
  std::vector<std::string> wanted = {"quantize",
                                     "org/large",
                                     "--bits=2",
                                     "--group-size=128",
                                     "--mse",
                                     "--output=" + folder.path("out/tiny-large/int2"),
                                     "--work-dir=state/key/work"};
  EXPECT_EQ(quantize_arguments(attempt), wanted);
  attempt.replace = true;
  wanted.emplace_back("--force");
  EXPECT_EQ(quantize_arguments(attempt), wanted);
  EXPECT_THAT(evaluate_arguments(job(spec, "tiny-large-int2")), Contains("--text=" + folder.path("test.txt")));
}

// What a changed file is refused with.
std::string refusal(const std::string& from, const std::string& to) {
  const TestFolder folder;
  std::string text = kFile;
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  try {
    read_fleet(folder.write("night.yaml", text), test_catalog());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "accepted";
}

TEST(FleetSpec, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(refusal("recipes:", "recipe:"),
              AllOf(HasSubstr("night.yaml:13: the file has the unknown key \"recipe\" "), HasSubstr("did you mean \"recipes\"")));
  EXPECT_THAT(refusal("ranks: 2", "rank: 2"), HasSubstr("did you mean \"ranks\""));
  EXPECT_THAT(refusal("bits: 4", "bit: 4"), HasSubstr("did you mean \"bits\""));
  EXPECT_THAT(refusal("window: 256", "widow: 256"), HasSubstr("did you mean \"window\""));
  EXPECT_THAT(refusal("max_kl", "max_KLD"), HasSubstr("did you mean \"max_kl\""));
  EXPECT_THAT(refusal("recipe: int4, model", "recipe: int5, model"), HasSubstr("did you mean \"int4\""));
  EXPECT_THAT(refusal("version: 1", "version: 2"), HasSubstr("version"));
  EXPECT_THAT(refusal("options: {bits: 4}", "config: gptq-int3"), HasSubstr("did you mean \"gptq-int4\""));
  EXPECT_THAT(refusal("family: other, recipe: int2", "family: othr, recipe: int2"), HasSubstr("matches no job"));
}

TEST(FleetSpec, RefusesBadValues) {
  EXPECT_THAT(refusal("ranks: 2", "ranks: none"), HasSubstr("whole number"));
  EXPECT_THAT(refusal("ranks: 2", "ranks: 0"), HasSubstr("whole number"));
  EXPECT_THAT(refusal("bits: 4", "bits: 5"), HasSubstr("bits"));
  EXPECT_THAT(refusal("mse: true", "mse: perhaps"), HasSubstr("switch"));
  EXPECT_THAT(refusal("max_kl: 0.5", "max_kl: -1"), HasSubstr("at least 0"));
  EXPECT_THAT(refusal("max_kl: 0.5", "max_size: 3 apples"), HasSubstr("max_size"));
  EXPECT_THAT(refusal("tiny:", "\"../tiny\":"), HasSubstr("no name"));
  EXPECT_THAT(refusal("options: {bits: 4}", "options: {bits: [4, 3]}"), HasSubstr("takes one value"));
  EXPECT_THAT(refusal("ranks: 2", "ranks: 2\n  ranks: 3"), HasSubstr("twice"));
  EXPECT_THAT(refusal("evaluate: {text: test.txt, window: 256}", "evaluate: false"), HasSubstr("nothing would be checked"));
  EXPECT_THAT(refusal("evaluate: {text: test.txt, window: 256}", "evaluate: {window: 256}"), HasSubstr("either text or ids"));
  EXPECT_THAT(refusal("evaluate: {text: test.txt, window: 256}", "evaluate: {text: test.txt, window: -3}"),
              HasSubstr("window: -3"));
  EXPECT_THAT(refusal("families:", "families: ["), HasSubstr("it is no YAML"));
  EXPECT_THAT(refusal("  - {family: extra, size: huge",
                      "  - {family: extra, size: huge-int4, recipe: int4, model: a/b}\n  - {family: extra-huge, size: int4"),
              HasSubstr("two jobs are called"));
}

}  // namespace
}  // namespace mpiquant
