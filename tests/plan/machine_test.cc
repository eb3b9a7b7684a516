#include "src/plan/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "src/base/error.h"
#include "src/plan/sbatch.h"

namespace mpiquant {
namespace {

using testing::HasSubstr;

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string input_error(const std::string& text) {
  try {
    parse_machine(text, "file.yaml");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kInput);
    return error.what();
  }
  return "no error";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

const std::filesystem::path kFolder = std::filesystem::path(MPIQUANT_SOURCE_DIR) / "configs/topologies";

TEST(Machine, EveryBundledTopologyIsRead) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    const Machine machine = parse_machine(read(entry.path()), entry.path().string());
    EXPECT_GT(machine.rates[Op::kLinear], 0) << entry.path();
    EXPECT_GT(machine.network.bytes_per_second, 0) << entry.path();
    EXPECT_EQ(machine.accelerated, machine.rank_memory > 0) << entry.path();
    ++files;
  }
  EXPECT_GE(files, 5);
}

TEST(Machine, WhatIsWrittenIsReadBack) {
  const Machine machine = parse_machine(read(kFolder / "dgx-h100.yaml"), "dgx-h100");
  const Machine again = parse_machine(to_yaml(machine, "a comment"), "again");
  for (const OpInfo& info : ops())
    EXPECT_NEAR(again.rates[info.op], machine.rates[info.op], 1e-3 * machine.rates[info.op]) << info.name;
  EXPECT_NEAR(again.network.bytes_per_second, machine.network.bytes_per_second, 1e6);
  EXPECT_EQ(again.ranks, 8);
  EXPECT_TRUE(again.accelerated);
}

TEST(Machine, EfficiencyLowersARate) {
  const std::string text = read(kFolder / "dgx-h100.yaml");
  const Machine full = parse_machine(replaced(text, "  linear: 0.6", "  linear: 1.0"), "full");
  const Machine machine = parse_machine(text, "file");
  EXPECT_DOUBLE_EQ(machine.rates[Op::kLinear], 0.6 * full.rates[Op::kLinear]);
  EXPECT_DOUBLE_EQ(machine.linear_bf16, 0.6 * full.linear_bf16);
}

TEST(Machine, DamagedFilesAreRefusedByKey) {
  const std::string text = read(kFolder / "cpu-core.yaml");
  EXPECT_THAT(input_error(replaced(text, "sweep_gflops", "sweeep_gflops")), HasSubstr("sweeep_gflops"));
  EXPECT_THAT(input_error(replaced(text, "  threads: 1", "  threads: 0")), HasSubstr("threads"));
  EXPECT_THAT(input_error(replaced(text, "memory_gb_s: 6", "memory_gb_s: -6")), HasSubstr("memory_gb_s"));
  EXPECT_THAT(input_error(replaced(text, "memory_gb_s: 6", "memory_gb_s: .nan")), HasSubstr("memory_gb_s"));
  EXPECT_THAT(input_error(replaced(text, "version: 1", "version: 2")), HasSubstr("version"));
  EXPECT_THAT(input_error("[1, 2]"), HasSubstr("map"));
  EXPECT_THAT(input_error("a: [1"), HasSubstr("file.yaml"));
  EXPECT_THAT(input_error(""), HasSubstr("file.yaml"));
}

TEST(Machine, RanksShareTheFileSystem) {
  Machine machine;
  machine.rates[Op::kRead] = 10;
  machine.node_read = 16;
  machine.total_read = 40;
  EXPECT_EQ(shared_rates(machine, 1, 1, ComputeType::kF32)[Op::kRead], 10);
  EXPECT_EQ(shared_rates(machine, 8, 8, ComputeType::kF32)[Op::kRead], 2);
  EXPECT_EQ(shared_rates(machine, 80, 1, ComputeType::kF32)[Op::kRead], 0.5);
}

TEST(Batch, HasWhatTheJobScriptReliesOn) {
  PlanSummary summary;
  summary.model = "m";
  summary.nodes = 3;
  summary.per_node = 4;
  summary.threads = 6;
  summary.memory = {{.weights = 1 << 30}, {.weights = 2 << 29}};
  summary.estimate.seconds = 3600;
  Machine machine;
  const std::string text = sbatch_script(summary, machine, "exec x\n");
  for (const char* line :
       {"#SBATCH --nodes=3\n", "#SBATCH --ntasks-per-node=4\n", "#SBATCH --cpus-per-task=6\n", "#SBATCH --mem=5120M\n",
        "#SBATCH --time=0-01:50:00\n", "#SBATCH --signal=B:USR2@600\n", "#SBATCH --requeue\n", "#SBATCH --open-mode=append\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_THAT(text, testing::Not(HasSubstr("gpu")));
  machine.accelerated = true;
  EXPECT_THAT(sbatch_script(summary, machine, ""), HasSubstr("#SBATCH --gpus-per-node=4\n"));
}

}  // namespace
}  // namespace mpiquant
