#pragma once

#include <cstdint>

#include "src/plan/memory.h"

namespace mpiquant {

// Streams that a rank uses on its device at most.
inline constexpr int kDeviceStreams = 16;

// Bytes that a rank's buffers take at their peak in the memory of a device: all weights of a layer in fp32, states, the block at
// work, and what the kernels need for themselves (kernels/cuda). codecs: in which a linear is stored at most. states_on_host: but
// those of units that something works on.
std::int64_t device_memory(const MemoryInput& input, std::int64_t codecs, bool states_on_host = false);

}  // namespace mpiquant
