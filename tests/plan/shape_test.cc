#include "src/plan/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "src/base/error.h"
#include "src/plan/device_memory.h"
#include "src/plan/memory.h"
#include "tests/plan/sample_model.h"

namespace mpiquant {
namespace {

PlanShape bundled(const std::string& name) {
  std::ifstream file(std::string(MPIQUANT_SOURCE_DIR) + "/configs/models/" + name + ".json");
  return parse_shape(Json::parse(file));
}

TEST(Shape, OfAModelCountsEveryTensor) {
  const ModelSpec model = sample_model(4);
  const PlanShape shape = shape_of(model);
  std::int64_t values = 2 * 2048 * 256 + 256;
  for (const LayerSpec& layer : model.layers) {
    values += 2 * 256;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) values += linear.rows * linear.cols;
  }
  EXPECT_EQ(shape.values(), values);
}

// As published: 671 billion parameters in all, 46.7 billion of Mixtral.
TEST(Shape, OfMixturesHaveThePublishedSizes) {
  EXPECT_NEAR(static_cast<double>(bundled("deepseek-v3").values()) / 1e9, 671, 1);
  EXPECT_NEAR(static_cast<double>(bundled("mixtral-8x7b").values()) / 1e9, 46.7, 0.05);
  EXPECT_NEAR(static_cast<double>(bundled("moe-1.5t").values()) / 1e12, 1.5, 0.03);
}

TEST(Shape, TheHessiansOfOneLayersExpertsAreTooManyForARank) {
  const LayerShape layer = bundled("deepseek-v3").layers.back();
  double bytes = 0;
  for (const BlockShape& block : layer.blocks)
    if (block.routed()) bytes += 8.0 * static_cast<double>(block.experts * block.cols * (block.cols + 1) / 2);
  EXPECT_NEAR(bytes / 1e9, 57, 1);
}

TEST(Shape, WhatCannotBePlannedIsNamed) {
  try {
    parse_shape(Json{{"model_type", "mamba"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInput);
    EXPECT_THAT(error.what(), testing::HasSubstr("mamba"));
  }
  for (const Json& broken : {Json::array(), Json{{"model_type", "mixtral"}}, Json{{"model_type", "mixtral"}, {"hidden_size", -1}},
                             Json{{"model_type", "mixtral"}, {"hidden_size", "wide"}, {"vocab_size", 10}}})
    EXPECT_THROW(parse_shape(broken), Error);
}

TEST(Memory, ResidentLayersAreCounted) {
  const PlanShape shape = shape_of(sample_model(8));
  MemoryInput input{.shape = shape, .first = 0, .last = 4, .tokens = 4096, .all_tokens = 4096, .unit_tokens = 512};
  const MemoryUse streamed = peak_memory(input);  // one layer, and the next one as it is read
  input.resident = true;
  EXPECT_EQ(peak_memory(input).weights, 4 * (streamed.weights / 2));
  input.resident = false;
  input.replicas = 4;
  EXPECT_EQ(peak_memory(input).weights, streamed.weights / 2 + streamed.weights / 8);
  input.replicas = 1;
  input.resident = true;
  input.threads = 4;
  EXPECT_GT(peak_memory(input).total(), streamed.total());
}

TEST(Memory, RoundedOperandsAreCountedForEachThread) {
  const PlanShape shape = shape_of(sample_model(8));
  MemoryInput input{.shape = shape, .first = 0, .last = 4, .tokens = 4096, .all_tokens = 4096, .unit_tokens = 512};
  const auto added = [&](int threads) {
    input.threads = threads;
    input.rounds = false;
    const std::int64_t before = peak_memory(input).program;
    input.rounds = true;
    return peak_memory(input).program - before;
  };
  EXPECT_GT(added(2), added(1));
  EXPECT_EQ(added(3) - added(2), added(2) - added(1));
}

// By hand, for a layer of Llama-3-8B and 128 samples of 2048 tokens in units of two, in values of 4 bytes: states 262144 * 4096,
// the inputs of `down` 262144 * 14336, weights 218 million.
TEST(DeviceMemory, OfALlamaLayerIsWhatItsBuffersTake) {
  PlanShape shape;
  shape.hidden = 4096;
  shape.vocab = 128256;
  shape.layers = {LayerShape{
      {{"qkv", 4096, {4096, 1024, 1024}}, {"o", 4096, {4096}}, {"gate_up", 4096, {14336, 14336}}, {"down", 14336, {4096}}}}};
  MemoryInput input{.shape = shape, .first = 0, .last = 1, .tokens = 262144, .all_tokens = 262144, .unit_tokens = 4096};
  constexpr std::int64_t kHeld = 4 * (262144LL * (4096 + 14336) + 218103808LL);
  const std::int64_t one = device_memory(input, 1);
  EXPECT_GT(one, kHeld + 14336LL * 14336 * 8);      // and the matrix that is factored
  EXPECT_LT(one, kHeld + 3 * 14336LL * 14336 * 8);  // with the solver's workspace and packed triangles
  input.threads = 64;
  const std::int64_t many = device_memory(input, 1);
  EXPECT_GT(many, one);
  EXPECT_LT(device_memory(input, 1, true), many - 4 * 262144LL * (4096 + 14336) / 2) << "states of all units are on the host";
  EXPECT_LT(many, 139LL << 30);
  input.threads = kDeviceStreams;
  EXPECT_EQ(device_memory(input, 1), many) << "no more streams than that";
  input.tokens /= 4;
  EXPECT_LT(device_memory(input, 1), many);
  input.tokens = input.all_tokens = 0;
  EXPECT_GT(device_memory(input, 3), device_memory(input, 1));
}

TEST(Memory, ExpertsAreSharedOut) {
  const PlanShape shape = bundled("deepseek-v3");
  MemoryInput input{
      .shape = shape, .first = 0, .last = shape.layers.size(), .tokens = 4096, .all_tokens = 4096 * 8, .unit_tokens = 4096};
  input.accelerated = true;
  input.replicas = 8;
  const MemoryUse eight = peak_memory(input);
  input.replicas = 64;
  EXPECT_LT(peak_memory(input).weights, eight.weights / 2);
}

}  // namespace
}  // namespace mpiquant
