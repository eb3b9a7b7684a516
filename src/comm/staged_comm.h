#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>

#include "src/comm/communicator.h"

namespace mpiquant {

// What a group needs of a device to move its memory through the host's.
struct DeviceAccess {
  std::function<bool(const void*)> is_device;
  std::function<std::shared_ptr<std::byte>(std::size_t)> allocate_host;  // page-locked, so that copies are fast
  std::function<void(std::span<const std::byte> device, std::byte* host)> to_host;
  std::function<void(const std::byte* host, std::span<std::byte> device)> to_device;
};

// A group that moves device memory, too: by copies to the host and the operations of a group on host memory, which it takes over.
// Several ranks may share a device.
std::unique_ptr<Communicator> make_staged_comm(std::unique_ptr<Communicator> host, DeviceAccess device);

}  // namespace mpiquant
