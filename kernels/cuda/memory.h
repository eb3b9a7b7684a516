#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "kernels/arena.h"
#include "kernels/backend.h"
#include "kernels/cuda/api.h"

namespace mpiquant::cuda {

// Of the device's memory.
std::size_t free_bytes(int device);

// The device's memory as one arena that the backend's streams share. A thread that works for a stream says so, so that what it
// gives back is not taken by another stream too early.
class DeviceMemory : public std::enable_shared_from_this<DeviceMemory> {
 public:
  // bytes: 0 for nine tenths of what is free. Taken at once.
  DeviceMemory(int device, std::size_t bytes);

  // Throws an environment error, with the numbers, when there is no room.
  BackendBuffer allocate(std::size_t bytes);
  std::size_t bytes() const { return arena_.bytes(); }

  // This thread works for a stream, whose number is the queue's, until the object is gone, which waits for the stream.
  class Turn {
   public:
    Turn(DeviceMemory& memory, int queue, cudaStream_t stream);
    ~Turn();
    Turn(const Turn&) = delete;

   private:
    DeviceMemory& memory_;
    cudaStream_t stream_;
  };

 private:
  int queue() const;  // of this thread; with the mutex held
  std::optional<std::size_t> take(std::size_t bytes);
  void give(std::size_t offset);

  int device_;
  std::mutex mutex_;
  DeviceOwner region_;
  Arena arena_;
  std::map<std::thread::id, int> queues_;
};

}  // namespace mpiquant::cuda
