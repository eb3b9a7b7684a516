#include "src/comm/launch_env.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "src/base/error.h"

namespace mpiquant {
namespace {

EnvLookup env(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto found = values.find(name);
    if (found == values.end()) return std::nullopt;
    return found->second;
  };
}

TEST(LaunchEnv, KnowsTheLaunchers) {
  EXPECT_FALSE(launched_in_job(env({})));
  EXPECT_TRUE(launched_in_job(env({{"OMPI_COMM_WORLD_SIZE", "1"}})));
  EXPECT_TRUE(launched_in_job(env({{"PMIX_RANK", "0"}})));
  EXPECT_TRUE(launched_in_job(env({{"PMI_RANK", "0"}})));
  EXPECT_TRUE(launched_in_job(env({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "0"}})));
  // A program called by the batch script itself is no task of a step.
  EXPECT_FALSE(launched_in_job(env({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}})));
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

}  // namespace
}  // namespace mpiquant
