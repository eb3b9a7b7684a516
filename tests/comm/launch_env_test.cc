#include "src/comm/launch_env.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "src/base/error.h"
#include "tests/comm/env.h"

namespace mpiquant {
namespace {

TEST(LaunchEnv, KnowsTheLaunchers) {
  EXPECT_FALSE(launched_in_job(env({})));
  EXPECT_TRUE(launched_in_job(env({{"OMPI_COMM_WORLD_SIZE", "1"}})));
  EXPECT_TRUE(launched_in_job(env({{"PMIX_RANK", "0"}})));
  EXPECT_TRUE(launched_in_job(env({{"PMI_RANK", "0"}})));
  // Neither the batch script's own calls nor a step without PMIx can use MPI.
  EXPECT_FALSE(launched_in_job(env({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}})));
  EXPECT_FALSE(launched_in_job(env({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "0"}})));
}

TEST(LaunchEnv, TasksThatDoNotSeeEachOtherAreRefused) {
  EXPECT_NO_THROW(check_world_size(env({}), 1));
  EXPECT_NO_THROW(check_world_size(env({{"SLURM_STEP_NUM_TASKS", "4"}}), 4));
  EXPECT_NO_THROW(check_world_size(env({{"SLURM_STEP_NUM_TASKS", "1"}}), 1));
  // mpirun -n 1 within an allocation of four nodes.
  EXPECT_NO_THROW(check_world_size(env({{"SLURM_STEP_NUM_TASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}}), 1));
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}) {
    try {
      check_world_size(env({{name, "4"}}), 1);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kEnvironment);
      EXPECT_NE(std::string(error.what()).find("4 tasks"), std::string::npos);
    }
  }
}

TEST(LaunchEnv, TheFirstRankThatFailsLeavesItsExitCode) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / ("mpiquant-exit-" + std::to_string(getpid()));
  std::filesystem::remove(path);
  leave_exit_code(env({}), ExitCode::kInput);
  leave_exit_code(env({{"MPIQUANT_EXIT_FILE", path.string()}}), ExitCode::kInput);
  leave_exit_code(env({{"MPIQUANT_EXIT_FILE", path.string()}}), ExitCode::kGate);
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  EXPECT_EQ(text, "3");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace mpiquant
