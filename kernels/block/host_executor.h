#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/block/block.h"

namespace mpiquant::block {

// In which order the threads of a phase run. A body whose result depends on it has a race.
enum class ThreadOrder : std::uint8_t { kForward, kBackward };

// A block on the host: phases run thread after thread. Shared memory has exactly the bytes asked for and begins as garbage.
template <typename Private>
class HostBlock {
 public:
  HostBlock(std::int64_t x_in, std::int64_t y_in, int threads, std::size_t shared, ThreadOrder order)
      : x(x_in), y(y_in), privates_(static_cast<std::size_t>(threads)), bytes_(shared), order_(order) {
    shared_.reset(static_cast<std::byte*>(::operator new (shared, std::align_val_t{kAlignment})));
    std::memset(shared_.get(), 0xff, shared);
  }

  template <typename T>
  T* shared(std::size_t byte_offset = 0) {
    return reinterpret_cast<T*>(shared_.get() + byte_offset);
  }

  template <typename Phase>
  void phase(const Phase& run) {
    const int threads = static_cast<int>(privates_.size());
    for (int i = 0; i < threads; ++i) {
      const int thread = order_ == ThreadOrder::kForward ? i : threads - 1 - i;
      run(thread, privates_[static_cast<std::size_t>(thread)]);
    }
  }

  const std::int64_t x, y;

 private:
  static constexpr std::size_t kAlignment = 128;
  struct Free {
    void operator()(std::byte* data) const { ::operator delete (data, std::align_val_t{kAlignment}); }
  };
  std::vector<Private> privates_;
  std::size_t bytes_;
  ThreadOrder order_;
  std::unique_ptr<std::byte, Free> shared_;
};

// Runs all blocks of a body, one after the other.
template <typename Body>
void run_on_host(const Body& body, ThreadOrder order = ThreadOrder::kForward) {
  const BlockGrid grid = body.grid();
  for (std::int64_t y = 0; y < grid.y; ++y)
    for (std::int64_t x = 0; x < grid.x; ++x) {
      const bool forward = order == ThreadOrder::kForward;
      HostBlock<typename Body::Private> block(forward ? x : grid.x - 1 - x, forward ? y : grid.y - 1 - y, Body::kThreads,
                                              body.shared_bytes(), order);
      body(block);
    }
}

}  // namespace mpiquant::block
