#pragma once

#include <functional>
#include <optional>
#include <string>

namespace mpiquant {

// Looks up an environment variable.
using EnvLookup = std::function<std::optional<std::string>(const std::string&)>;
std::optional<std::string> process_env(const std::string& name);

// Was this process started as a task of a parallel job (mpirun of Open MPI, MPICH or MVAPICH, or a Slurm step)?
bool launched_in_job(const EnvLookup& env);

// Throws an environment error if the launcher says that it started several tasks but this one sees only itself.
void check_world_size(const EnvLookup& env, int world_size);

}  // namespace mpiquant
