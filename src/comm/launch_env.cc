#include "src/comm/launch_env.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace mpiquant {
namespace {

int number_in(const EnvLookup& env, const std::string& name) {
  const std::optional<std::string> text = env(name);
  int value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

}  // namespace

std::optional<std::string> process_env(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

bool launched_in_job(const EnvLookup& env) {
  // Open MPI's mpirun; MPICH's and Intel MPI's mpiexec and Slurm's pmi2; PMIx, of Slurm too; MVAPICH. A Slurm step without any of
  // these has no MPI, so that MPI_Init would end the process.
  constexpr std::array<std::string_view, 4> kMarks = {"OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK"};
  for (const std::string_view mark : kMarks)
    if (env(std::string(mark))) return true;
  return false;
}

void leave_exit_code(const EnvLookup& env, ExitCode code) noexcept {
  const std::optional<std::string> path = env("MPIQUANT_EXIT_FILE");
  if (!path) return;
  // "x": the first rank to fail is the one that counts.
  if (std::FILE* file = std::fopen(path->c_str(), "wx")) {
    std::fprintf(file, "%d\n", static_cast<int>(code));
    std::fclose(file);
  }
}

void check_world_size(const EnvLookup& env, int world_size) {
  if (world_size > 1) return;
  // mpirun inside a Slurm allocation starts its own helpers as a step, so its own word comes first.
  int tasks = 0;
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"}) {
    tasks = number_in(env, name);
    if (tasks > 0) break;
  }
  check(tasks <= 1, ExitCode::kEnvironment,
        "{} tasks were started, but each sees only itself (they would all do the same work: the launcher and this program's MPI "
        "do not "
        "know each other) under Slurm use srun --mpi=pmix if `srun --mpi=list` has it, else mpirun inside the allocation",
        tasks);
}

}  // namespace mpiquant
