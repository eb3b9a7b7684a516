#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/comm/launch_env.h"

namespace mpiquant {

// This process's number among those of its node, as Open MPI, PMIx, Slurm, MPICH, Intel MPI or MVAPICH tell it; nothing if none
// does.
std::optional<int> local_rank(const EnvLookup& env);

// The index of a process's GPU among the visible ones: the only one, or the one of its number. share: processes may have the same
// one. Throws a usage error when there are more processes than GPUs.
int choose_device(int local_rank, int visible, bool share);

// Throws an environment error when ranks have different NCCL libraries, which do not talk to each other. versions: by rank.
void check_nccl_versions(std::span<const std::string> versions);

// What is near a PCI device, from the kernel's files; without them no node and no processors.
struct NearDevice {
  int numa_node = -1;     // -1: unknown, or there is only one
  std::vector<int> cpus;  // numbers of the processors beside it
};
NearDevice near_device(const std::string& pci_id, const std::filesystem::path& devices = "/sys/bus/pci/devices");

// "0-3,8" → 0, 1, 2, 3, 8; nothing when the text is something else.
std::vector<int> parse_cpu_list(const std::string& text);

}  // namespace mpiquant
