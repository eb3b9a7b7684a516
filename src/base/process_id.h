#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace mpiquant {

// A process of this machine; the start time tells it from a later one with the same id.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start = 0;  // clock ticks after the system's start
};

ProcessId process_of(pid_t pid);
ProcessId own_process();
// Is it there and not a zombie? A zombie child of this process is collected.
bool alive(const ProcessId& process);

std::string host_name();
// Tells process numbers of different containers on one host apart; empty where there is no /proc.
std::string pid_namespace();

}  // namespace mpiquant
