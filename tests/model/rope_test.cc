#include "src/model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace mpiquant {
namespace {

// Computed by Transformers 5.23.0 (LlamaRotaryEmbedding, fp32) for head_dim 16 and max_position_embeddings 2048.
struct RopeCase {
  std::string parameters;  // rope_parameters of config.json
  std::vector<float> inverse;
  float scaling;
  std::vector<float> cos, sin;  // at position 1000
};

void PrintTo(const RopeCase& c, std::ostream* out) { *out << c.parameters; }

class Rope : public testing::TestWithParam<RopeCase> {
 protected:
  static RopeSpec spec(const std::string& parameters) {
    const Json config = parse_json("{\"rope_parameters\": " + parameters + "}", "test");
    return read_rope(ConfigReader(config, "config.json"), 2048);
  }
};

TEST_P(Rope, EqualsTransformers) {
  const RopeCase& c = GetParam();
  const RopeFrequencies frequencies = rope_frequencies(spec(c.parameters), 16);
  EXPECT_FLOAT_EQ(frequencies.attention_scaling, c.scaling);
  ASSERT_EQ(frequencies.inverse.size(), 8U);
  const RopeTables tables = rope_tables(spec(c.parameters), 16, 1001);
  ASSERT_EQ(tables.cos.size(), 1001U * 8U);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_FLOAT_EQ(frequencies.inverse[i], c.inverse[i]) << i;
    EXPECT_FLOAT_EQ(tables.cos[i], c.scaling);
    EXPECT_EQ(tables.sin[i], 0.0F);
    EXPECT_NEAR(tables.cos[8000 + i], c.cos[i], 5e-5) << i;  // one last place of a frequency, 1000 times
    EXPECT_NEAR(tables.sin[8000 + i], c.sin[i], 5e-5) << i;
  }
}

TEST_P(Rope, DiffersFromUnscaled) {
  const RopeFrequencies plain = rope_frequencies(spec(R"({"rope_type": "default", "rope_theta": 10000.0})"), 16);
  EXPECT_GT(std::abs(plain.inverse[7] / GetParam().inverse[7] - 1), 0.1F);
}

INSTANTIATE_TEST_SUITE_P(
    Types, Rope,
    testing::Values(
        RopeCase{
            R"({"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5})",
            {0.400000006F, 0.1264911F, 0.0399999991F, 0.0126491114F, 0.00399999972F, 0.00126491114F, 0.000400000019F,
             0.000126491112F},
            1.0F,
            {-0.52529633F, 0.676799178F, -0.666938066F, 0.996578872F, -0.653643787F, 0.301137358F, 0.921060979F, 0.992010653F},
            {-0.850919366F, 0.736167669F, 0.745113134F, 0.0826467574F, -0.75680232F, 0.953580797F, 0.389418364F, 0.12615408F}},
        RopeCase{
            R"({"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 64})",
            {1.0F, 0.079403013F, 0.00470075384F, 0.000911583134F, 0.000176776681F, 3.42810235e-05F, 6.64786967e-06F,
             1.28917316e-06F},
            1.0F,
            {0.562379062F, -0.65000993F, -0.0116350288F, 0.612495124F, 0.98441565F, 0.999412477F, 0.999977887F, 0.999999166F},
            {0.826879561F, -0.759925663F, -0.999932289F, 0.790474355F, 0.17585741F, 0.0342743099F, 0.00664782058F,
             0.0012891728F}},
        RopeCase{
            R"({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 512})",
            {1.0F, 0.25693506F, 0.0625F, 0.0138349654F, 0.00249999994F, 0.000790569466F, 0.000250000012F, 7.90569466e-05F},
            1.13862944F,
            {0.640341341F, 0.888552248F, 1.07650614F, 0.338881642F, -0.912205696F, 0.800958276F, 1.10323226F, 1.13507307F},
            {0.941509426F, -0.712005556F, -0.370960414F, 1.08703089F, 0.681437969F, 0.809285402F, 0.281701446F, 0.089922823F}},
        RopeCase{
            R"({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 40.0, "original_max_position_embeddings": 512,
                     "mscale": 0.707, "mscale_all_dim": 1.2, "beta_fast": 16, "beta_slow": 2, "truncate": false})",
            {1.0F, 0.316227764F, 0.0683637187F, 0.00454810867F, 0.000250000012F, 7.90569466e-05F, 2.49999994e-05F,
             7.90569447e-06F},
            0.873940458F,
            {0.491485834F, -0.417217374F, 0.638664246F, -0.14292638F, 0.846771777F, 0.871210814F, 0.873667359F, 0.873913169F},
            {0.722643495F, 0.767920315F, -0.596556664F, -0.862174034F, 0.216216341F, 0.0690191165F, 0.0218462348F,
             0.00690903468F}},
        RopeCase{
            R"({"rope_type": "yarn", "rope_theta": 1000000.0, "factor": null, "original_max_position_embeddings": 512,
                     "attention_factor": 1.25})",
            {1.0F, 0.133370951F, 0.0158113893F, 0.00140585331F, 0.000250000012F, 4.44569851e-05F, 7.90569356e-06F,
             1.40585337e-06F},
            1.25F,
            {0.702973843F, 0.182756752F, -1.24332047F, 0.205245197F, 1.21114051F, 1.24876487F, 1.2499609F, 1.24999881F},
            {1.0335995F, 1.23656774F, -0.129051775F, 1.23303461F, 0.309254944F, 0.0555529259F, 0.00988201424F, 0.00175731606F}}));

}  // namespace
}  // namespace mpiquant
