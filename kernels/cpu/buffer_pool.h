#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "kernels/backend.h"

namespace mpiquant::cpu {

// Host buffers that are handed out again when they come back, because fresh pages cost as much time as using them does. Free
// buffers are kept as long as everything together is no more than what was once in use at a time. Any thread.
class BufferPool {
 public:
  BufferPool() : blocks_(std::make_shared<Blocks>()) {}
  // Uninitialized bytes on a boundary of 64. Throws (environment error) when there is no memory.
  BackendBuffer take(std::size_t bytes) const;

 private:
  struct Release {
    void operator()(std::byte* data) const;
  };
  struct Free {
    std::unique_ptr<std::byte, Release> data;
    std::uint64_t returned;  // when, counted in returns
  };
  // Buffers may outlive the pool.
  struct Blocks {
    std::mutex mutex;
    std::multimap<std::size_t, Free> free;  // by size
    std::size_t free_bytes = 0;
    std::size_t used_bytes = 0;  // by the sizes of blocks, not of what was asked for
    std::size_t most_used = 0;
    std::uint64_t returns = 0;

    std::unique_ptr<std::byte, Release> find(std::size_t bytes, std::size_t& size);
    void use(std::size_t size);
    void give_back(std::byte* data, std::size_t size);
  };
  std::shared_ptr<Blocks> blocks_;
};

}  // namespace mpiquant::cpu
