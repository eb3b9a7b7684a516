#include "kernels/cpu/buffer_pool.h"

#include <new>
#include <utility>

#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector register

}  // namespace

void BufferPool::Release::operator()(std::byte* data) const { ::operator delete(data, kAlignment); }

BackendBuffer BufferPool::take(std::size_t bytes) const {
  std::size_t size = bytes;
  Block block;
  {
    const std::lock_guard lock(blocks_->mutex);
    auto& free = blocks_->free;
    auto found = free.lower_bound(bytes);
    if (found != free.end()) {
      size = found->first;
      block = std::move(found->second);
      free.erase(found);
    } else if (!free.empty()) {
      free.erase(std::prev(free.end()));
    }
  }
  if (!block) block.reset(static_cast<std::byte*>(::operator new(bytes, kAlignment, std::nothrow)));
  check(block != nullptr, ExitCode::kEnvironment,
        "no memory for a buffer of {} bytes (the work of a layer must fit) use more ranks or a larger machine", bytes);
  return {block.release(), bytes, MemSpace::kHost, [blocks = blocks_, size](std::byte* data) {
            const std::lock_guard lock(blocks->mutex);
            blocks->free.emplace(size, data);
          }};
}

}  // namespace mpiquant::cpu
