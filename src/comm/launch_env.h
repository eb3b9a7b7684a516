#pragma once

#include <functional>
#include <optional>
#include <string>

#include "src/base/error.h"

namespace mpiquant {

// Looks up an environment variable.
using EnvLookup = std::function<std::optional<std::string>(const std::string&)>;
std::optional<std::string> process_env(const std::string& name);

// Was this process started by something that connects MPI ranks (mpirun of Open MPI, MPICH or MVAPICH, or srun with PMIx or PMI)?
bool launched_in_job(const EnvLookup& env);

// Leaves the exit code for the batch script in the file that MPIQUANT_EXIT_FILE names, if there is none yet: Slurm reports the
// signal by which it ended the other ranks instead of the code of the one that failed.
void leave_exit_code(const EnvLookup& env, ExitCode code) noexcept;

// Throws an environment error if the launcher says that it started several tasks but this one sees only itself.
void check_world_size(const EnvLookup& env, int world_size);

}  // namespace mpiquant
