#include "src/plan/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "src/base/error.h"
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
  const MemoryUse streamed = peak_memory(input);
  input.resident = true;
  EXPECT_EQ(peak_memory(input).weights, 4 * streamed.weights);
  input.threads = 4;
  EXPECT_GT(peak_memory(input).total(), streamed.total());
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
