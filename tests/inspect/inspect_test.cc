#include "src/run/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "src/run/terminal_text.h"
#include "tests/io/container_support.h"

namespace mpiquant {
namespace {

using namespace test;
using testing::HasSubstr;

void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

// A safetensors file of zeros.
void write_tensors(const std::string& path, const std::vector<SafetensorsTensor>& tensors) {
  const SafetensorsLayout layout = build_safetensors_header(tensors);
  File file = File::create(path, layout.file_bytes);
  file.write_at(0, layout.header);
  file.close();
}

TEST(Inspect, APlainRepository) {
  const Inspection found = inspect(bundled_model());
  EXPECT_EQ(found.form, "safetensors");
  EXPECT_EQ(found.files.size(), 2U);
  EXPECT_EQ(found.weights, 5770496);
  EXPECT_DOUBLE_EQ(found.bits_per_weight(), 16);
  EXPECT_TRUE(found.quantized.empty());
  EXPECT_EQ(found.model["architecture"], "LlamaForCausalLM");
  EXPECT_EQ(found.tokenizer["tokens"], 2048);
  EXPECT_TRUE(found.about.is_null());
  EXPECT_THAT(to_text(found, false), HasSubstr("16.000 bits a weight"));
  EXPECT_THAT(to_text(found, true), HasSubstr("model.layers.5.mlp.down_proj.weight"));
  EXPECT_FALSE(to_json(found, false).contains("tensors"));
  EXPECT_EQ(to_json(found, true)["tensors"].size(), found.tensors.size());
}

struct Packed {
  std::string name;
  std::vector<SafetensorsTensor> tensors;
  std::string config;  // quantization_config
  std::int64_t weights;
  std::int64_t bytes;
};

class PackedForms : public testing::TestWithParam<Packed> {};

TEST_P(PackedForms, AreCountedAsTheWeightsTheyStandFor) {
  const TemporaryFolder folder;
  std::vector<SafetensorsTensor> tensors = GetParam().tensors;
  tensors.push_back({"m.bias", "F16", {64}});
  tensors.push_back({"norm.weight", "F16", {64}});
  write_tensors(folder / "model.safetensors", tensors);
  write(folder / "config.json", R"({"quantization_config": )" + GetParam().config + "}");
  const Inspection found = inspect(folder.path());
  ASSERT_EQ(found.quantized.size(), 1U);
  EXPECT_EQ(found.quantized[0].name, "m");
  EXPECT_EQ(found.quantized[0].weights, GetParam().weights);
  EXPECT_EQ(found.quantized[0].bytes, GetParam().bytes);
  EXPECT_EQ(found.weights, GetParam().weights + 128);
  EXPECT_EQ(found.bytes, GetParam().bytes + 256);
}

const std::vector<Packed> kForms = {
    {"Gptq",
     {{"m.qweight", "I32", {16, 64}}, {"m.qzeros", "I32", {4, 8}}, {"m.scales", "F16", {4, 64}}, {"m.g_idx", "I32", {128}}},
     R"({"quant_method": "gptq", "bits": 4})",
     128 * 64,
     4096 + 128 + 512 + 512},
    {"GptqWithoutOrder",
     {{"m.qweight", "I32", {12, 64}}, {"m.qzeros", "I32", {1, 6}}, {"m.scales", "F16", {1, 64}}},
     R"({"quant_method": "auto-round", "bits": 3})",
     128 * 64,
     3072 + 24 + 128},
    {"Awq",
     {{"m.qweight", "I32", {128, 8}}, {"m.qzeros", "I32", {4, 8}}, {"m.scales", "F16", {4, 64}}},
     R"({"quant_method": "awq", "bits": 4})",
     128 * 64,
     4096 + 128 + 512},
    {"Nvfp4",
     {{"m.weight_packed", "U8", {64, 64}}, {"m.weight_scale", "F8_E4M3", {64, 8}}, {"m.weight_global_scale", "F32", {1}}},
     R"({"quant_method": "compressed-tensors"})",
     128 * 64,
     4096 + 512 + 4},
    {"Nf4",
     {{"m.weight", "U8", {4096, 1}}, {"m.weight.absmax", "F32", {128}}, {"m.weight.quant_map", "F32", {16}}},
     R"({"quant_method": "bitsandbytes"})",
     128 * 64,
     4096 + 512 + 64},
    {"Fp8",
     {{"m.weight", "F8_E4M3", {64, 128}}, {"m.weight_scale_inv", "F32", {1, 1}}},
     R"({"quant_method": "fp8"})",
     128 * 64,
     8192 + 4},
};
INSTANTIATE_TEST_SUITE_P(All, PackedForms, testing::ValuesIn(kForms), [](const auto& given) { return given.param.name; });

TEST(Inspect, PackedWeightsTakeTheirExtentsFromTheFile) {
  const TemporaryFolder folder;
  const std::vector<SafetensorsTensor> tensors = {
      {"m.weight_packed", "I32", {64, 16}}, {"m.weight_scale", "BF16", {64, 1}}, {"m.weight_shape", "I64", {2}}};
  write_tensors(folder / "model.safetensors", tensors);
  EXPECT_TRUE(inspect(folder.path()).quantized.empty());  // the extents are zero: no honest file
  File file = File::open_write(folder / "model.safetensors");
  const SafetensorsHeader header = parse_safetensors_header(file);
  const std::array<std::int64_t, 2> extents = {64, 125};
  for (const SafetensorsEntry& entry : header.entries)
    if (entry.name == "m.weight_shape") file.write_at(entry.offset, std::as_bytes(std::span(extents)));
  file.close();
  EXPECT_EQ(inspect(folder.path()).quantized.at(0).weights, 64 * 125);
}

TEST(Inspect, RecipeAndErrorsOfAnOutput) {
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {{"a", "F32", {4}}});
  write(folder / "mpiquant.json", R"({"recipe": {"method": "gptq", "bits": 4}, "tensors": {
    "model.layers.0.mlp.up_proj": {"codec": "int4", "error": 0.5, "damp_retries": 1},
    "model.layers.0.mlp.down_proj": {"codec": "int4", "error": 1.5},
    "model.layers.11.mlp.up_proj": {"codec": "int4", "error": 4.0},
    "lm_head": {"codec": "int4", "error": 0.25}}})");
  const std::string text = to_text(inspect(folder.path()), false);
  EXPECT_THAT(text, HasSubstr("method: gptq"));
  EXPECT_THAT(text, HasSubstr("2.000e+00  " + std::string("████████████████████") + "  "));
  EXPECT_THAT(text, HasSubstr("model.layers.0.mlp.down_proj"));
  EXPECT_LT(text.find("\n11 "), text.find("\nnone "));
  write(folder / "mpiquant.json", "[1]");
  EXPECT_THAT(error_of([&] { inspect(folder.path()); }).what(), HasSubstr("mpiquant.json is not a JSON object"));
}

TEST(Inspect, NamesOutputsInFoldersOfTheirOwn) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "gptq");
  write(folder / "gptq/mpiquant.json", "{}");
  const Error error = error_of([&] { inspect(folder.path()); });
  EXPECT_EQ(error.code(), ExitCode::kInput);
  EXPECT_THAT(error.what(), HasSubstr("holds 1 outputs: gptq"));
}

TEST(Inspect, ForeignTextCannotDriveTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\n\x7f"), "a?[31mb??");
  EXPECT_EQ(printable("\xc2\x9b caf\xc3\xa9"), "? caf\xc3\xa9");
  EXPECT_EQ(printable("\xff"), "\xef\xbf\xbd");
  const TemporaryFolder folder;
  write_tensors(folder / "model.safetensors", {{"\x1b[2J", "F32", {4}}});
  EXPECT_EQ(to_text(inspect(folder.path()), true).find('\x1b'), std::string::npos);
}

TEST(Inspect, Bars) {
  EXPECT_EQ(bar(0, 4), "");
  EXPECT_EQ(bar(0.5, 4), "██");
  EXPECT_EQ(bar(1.5 / 32, 4), "▎");
  EXPECT_EQ(bar(7, 2), "██");
  EXPECT_EQ(bar(std::nan(""), 2), "");
  EXPECT_EQ(shown_bytes(999), "999 B");
  EXPECT_EQ(shown_bytes(999'999), "1.0 MB");
  EXPECT_EQ(shown_bytes(1'234'567'890), "1.2 GB");
}

// What other programs have written: form, matrices, bits a weight of the quantized ones.
struct Peer {
  const char* path;
  const char* form;
  double bits;
};

TEST(Inspect, OutputsOfOtherPrograms) {
  const std::vector<Peer> peers = {{"gptq-w4g32-asym-desc_act", "gptq", 4.7188},
                                   {"awq-w4g128-gemm", "awq", 4.1562},
                                   {"ct-gptq-w4a16-asym", "compressed-tensors", 4.1569},
                                   {"bnb-nf4-double", "bitsandbytes", 4.2170},
                                   {"gguf/tiny-llama-Q4_K_M-imatrix.gguf", "gguf", 4.8516}};
  for (const Peer& peer : peers) {
    const std::string root = fixture_path(std::string("peer-outputs/") + peer.path);
    if (root.empty()) GTEST_SKIP() << "shared fixtures are absent";
    const bool folder = std::filesystem::is_directory(root);
    const Inspection found = inspect(folder ? root + "/stored.safetensors" : root);
    EXPECT_EQ(found.form, peer.form) << peer.path;
    EXPECT_GT(found.quantized.size(), 0U) << peer.path;
    EXPECT_NEAR(found.quantized_bits_per_weight(), peer.bits, 0.001) << peer.path;
    EXPECT_FALSE(to_text(found, true).empty());
  }
}

}  // namespace
}  // namespace mpiquant
