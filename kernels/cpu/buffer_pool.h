#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/backend.h"

namespace mpiquant::cpu {

// Host buffers that are handed out again when they come back, because fresh pages cost as much time as using them does. Where no
// free buffer is large enough the largest free one is given up, so that together they stay near what was in use at once. Any
// thread.
class BufferPool {
 public:
  BufferPool() : blocks_(std::make_shared<Blocks>()) {}
  // Uninitialized bytes on a boundary of 64. Throws (environment error) when there is no memory.
  BackendBuffer take(std::size_t bytes) const;

 private:
  struct Release {
    void operator()(std::byte* data) const;
  };
  using Block = std::unique_ptr<std::byte, Release>;
  // Buffers may outlive the pool.
  struct Blocks {
    std::mutex mutex;
    std::multimap<std::size_t, Block> free;  // by size
  };
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace mpiquant::cpu
