#include "kernels/cuda_problem.h"

#include <gtest/gtest.h>

#include <vector>

namespace mpiquant {
namespace {

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(CudaProblem, SaysWhatIsInTheWay) {
  // Without a driver CUDA calls it too old, or says that there is no device.
  for (const CudaTrouble trouble : {CudaTrouble::kOldDriver, CudaTrouble::kNoDevice, CudaTrouble::kOther})
    EXPECT_TRUE(says(cuda_problem(trouble, 0, 13000, ""), "no NVIDIA driver is loaded"));
  const std::string old = cuda_problem(CudaTrouble::kOldDriver, 12020, 13000, "");
  EXPECT_TRUE(says(old, "for CUDA 12.2 ") && says(old, "needs 13.0 ")) << old;
  EXPECT_TRUE(says(cuda_problem(CudaTrouble::kNoDevice, 13000, 13000, ""), "no GPU is visible"));
  EXPECT_TRUE(says(cuda_problem(CudaTrouble::kOther, 13000, 13000, "ecc error"), "ecc error"));
  for (const CudaTrouble trouble : {CudaTrouble::kOldDriver, CudaTrouble::kNoDevice, CudaTrouble::kOther})
    EXPECT_TRUE(says(cuda_problem(trouble, 12020, 13000, ""), "--device cpu"));
}

TEST(CudaProblem, CodeRunsOnItsMajorVersionAndAsPtxOnLaterOnes) {
  const std::vector<int> all = {80, 90, 100}, hopper = {90};
  for (const auto& [major, minor] : {std::pair{8, 0}, {8, 6}, {8, 9}, {9, 0}, {10, 0}, {10, 3}, {12, 0}})
    EXPECT_TRUE(runs_on(all, major, minor)) << major << '.' << minor;
  EXPECT_FALSE(runs_on(all, 7, 5));
  EXPECT_FALSE(runs_on(hopper, 8, 0));
  EXPECT_TRUE(runs_on(hopper, 12, 0));
  EXPECT_TRUE(says(capability_problem(all, "Tesla T4", 7, 5), "Tesla T4 has compute capability 7.5"));
}

}  // namespace
}  // namespace mpiquant
