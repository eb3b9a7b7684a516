#pragma once

#include <cstddef>

namespace mpiquant::cuda_host {

enum class Kind { kDevice, kPinned, kUnknown };

// Memory of the stand-in's device, full of garbage, which the host may touch only while a step runs; null when there is no room.
void* allocate_device(std::size_t bytes);
void* allocate_pinned(std::size_t bytes);
// False for what was not allocated so.
bool release(void* data, Kind kind);
Kind kind_of(const void* data);
// MPIQUANT_CUDA_HOST_BYTES: of each device; 8 GiB when unset.
std::size_t total_bytes();
std::size_t free_bytes();

// Device memory can be read and written while one of these exists. One at a time.
class OpenMemory {
 public:
  OpenMemory();
  ~OpenMemory();
  OpenMemory(const OpenMemory&) = delete;
};

}  // namespace mpiquant::cuda_host
