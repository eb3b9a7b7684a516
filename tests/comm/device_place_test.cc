#include "src/comm/device_place.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <fstream>

#include "tests/comm/env.h"

namespace mpiquant {
namespace {

TEST(DevicePlace, LocalRankComesFromTheLauncher) {
  EXPECT_EQ(local_rank(env({})), std::nullopt);
  EXPECT_EQ(local_rank(env({{"OMPI_COMM_WORLD_LOCAL_RANK", "3"}})), 3);
  EXPECT_EQ(local_rank(env({{"PMIX_LOCAL_RANK", "1"}})), 1);
  EXPECT_EQ(local_rank(env({{"SLURM_LOCALID", "2"}})), 2);
  EXPECT_EQ(local_rank(env({{"SLURM_LOCALID", "0"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}})), 1) << "mpirun inside an allocation";
  EXPECT_EQ(local_rank(env({{"PMIX_LOCAL_RANK", "x"}, {"SLURM_LOCALID", "2"}})), 2);
}

TEST(DevicePlace, NcclIsTheSameOnAllRanks) {
  const std::vector<std::string> same(3, "2.28.9"), other = {"2.28.9", "2.28.9", "2.27.3"};
  check_nccl_versions(same);
  try {
    check_nccl_versions(other);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kEnvironment);
    EXPECT_NE(std::string(error.what()).find("rank 2 has NCCL 2.27.3 and rank 0 has 2.28.9"), std::string::npos) << error.what();
  }
}

TEST(DevicePlace, EachRankHasAGpuOfItsOwn) {
  EXPECT_EQ(choose_device(0, 4, false), 0);
  EXPECT_EQ(choose_device(3, 4, false), 3);
  EXPECT_EQ(choose_device(3, 1, false), 0) << "the launcher shows each rank its own";
  EXPECT_EQ(choose_device(5, 4, true), 1);
  try {
    choose_device(4, 4, false);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("at most 4 ranks"), std::string::npos);
  }
}

TEST(DevicePlace, ReadsTheProcessorsBesideADevice) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / ("mpiquant-pci-" + std::to_string(getpid()));
  std::filesystem::create_directories(folder / "0000:1b:00.0");
  std::ofstream(folder / "0000:1b:00.0" / "numa_node") << "1\n";
  std::ofstream(folder / "0000:1b:00.0" / "local_cpulist") << "4-6,12\n";
  const NearDevice near = near_device("0000:1B:00.0", folder);
  EXPECT_EQ(near.numa_node, 1);
  EXPECT_EQ(near.cpus, (std::vector<int>{4, 5, 6, 12}));
  EXPECT_EQ(near_device("0000:ff:00.0", folder).numa_node, -1);
  EXPECT_TRUE(near_device("0000:ff:00.0", folder).cpus.empty());
  std::filesystem::remove_all(folder);
}

TEST(DevicePlace, RefusesListsThatAreNone) {
  for (const char* text : {"x", "3-1", "1-", "-1", "0-99999999", "1,,2"}) EXPECT_TRUE(parse_cpu_list(text).empty()) << text;
  EXPECT_EQ(parse_cpu_list("7"), std::vector<int>{7});
}

}  // namespace
}  // namespace mpiquant
