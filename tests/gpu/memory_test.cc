// Device memory: one region, refusals with numbers, identity.
#include <gtest/gtest.h>

#include "tests/gpu/gpu_support.h"

namespace mpiquant {
namespace {

TEST(GpuMemory, WhatDoesNotFitIsRefusedWithTheNumbers) {
  const auto gpu = make_cuda_backend(test_gpu());
  try {
    const BackendBuffer all = gpu->allocate(kTestMemory / 2);
    gpu->allocate(kTestMemory);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(std::string(error.what()).find("512 of 1024 MB are in use"), std::string::npos) << error.what();
  }
  EXPECT_NO_THROW(gpu->allocate(kTestMemory / 2)) << "the error leaves the backend usable";
}

TEST(GpuMemory, APlanThatCannotFitIsRefusedBeforeWork) {
  CudaOptions options = test_gpu();
  options.memory = 0;
  EXPECT_EQ(code_of([&] { make_cuda_backend(options)->reserve(std::size_t{1} << 50); }), ExitCode::kUsage);
  EXPECT_EQ(code_of([&] { make_cuda_backend(options)->reserve(std::size_t{1} << 28); }), ExitCode::kDone);
}

TEST(GpuMemory, BuffersOfOneStreamAreNotTakenByAnotherTooEarly) {
  const auto gpu = make_cuda_backend(test_gpu(ComputeType::kF32, false, 4));
  const OnDevice x(*gpu, Sample(1024, 1024, 1)), w(*gpu, Sample(1024, 1024, 2));
  std::vector<OnDevice> y;
  for (int i = 0; i < 32; ++i) y.emplace_back(*gpu, Sample(1024, 1024, 3));
  gpu->for_each(32, [&](Stream& s, std::int64_t i) {
    const Matrix out = y[static_cast<std::size_t>(i)].view();
    for (int round = 0; round < 4; ++round) {
      const BackendBuffer buffer = gpu->allocate(std::size_t{4} << 20);
      const Matrix scratch = buffer.matrix(1024, 1024);
      gpu->linear(s, x.view(), w.view(), nullptr, scratch);
      gpu->copy(s, scratch, out);
    }
  });
  const Sample first = y.front().host();
  for (const OnDevice& each : y) ASSERT_EQ(each.host().values, first.values);
}

TEST(GpuIdentity, NamesDeviceAndChoices) {
  const std::string bf16 = make_cuda_backend(test_gpu())->identity(),
                    f32 = make_cuda_backend(test_gpu(ComputeType::kF32))->identity();
  EXPECT_NE(bf16, f32);
  EXPECT_NE(bf16.find(cuda_machine().devices.front().name), std::string::npos) << bf16;
}

TEST(GpuMachine, ADeviceThatIsNotThereIsRefused) {
  CudaOptions options = test_gpu();
  options.device = 99;
  EXPECT_EQ(code_of([&] { make_cuda_backend(options); }), ExitCode::kUsage);
}

}  // namespace
}  // namespace mpiquant
