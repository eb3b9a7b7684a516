#include "kernels/cpu/buffer_pool.h"

#include <algorithm>
#include <new>
#include <utility>

#include "src/base/error.h"

namespace mpiquant::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};  // a cache line, and the widest vector register
// What a block may be larger than what it is used for: so many times, as far as that wastes no more than this.
constexpr std::size_t kMostTimes = 8;
constexpr std::size_t kMostWaste = std::size_t{4} << 20;

}  // namespace

void BufferPool::Release::operator()(std::byte* data) const { ::operator delete(data, kAlignment); }

// The smallest free block that fits, or null.
std::unique_ptr<std::byte, BufferPool::Release> BufferPool::Blocks::find(std::size_t bytes, std::size_t& size) {
  const auto found = free.lower_bound(bytes);
  if (found == free.end() || found->first / kMostTimes > bytes || found->first - bytes > kMostWaste) return nullptr;
  size = found->first;
  free_bytes -= size;
  auto data = std::move(found->second.data);
  free.erase(found);
  return data;
}

// Counts a block; free ones that were not wanted for longest go while there is more than there ever was in use.
void BufferPool::Blocks::use(std::size_t size) {
  used_bytes += size;
  most_used = std::max(most_used, used_bytes);
  while (!free.empty() && used_bytes + free_bytes > most_used) {
    const auto oldest = std::min_element(free.begin(), free.end(),
                                         [](const auto& a, const auto& b) { return a.second.returned < b.second.returned; });
    free_bytes -= oldest->first;
    free.erase(oldest);
  }
}

void BufferPool::Blocks::give_back(std::byte* data, std::size_t size) {
  const std::lock_guard lock(mutex);
  used_bytes -= size;
  free_bytes += size;
  free.emplace(size, Free{std::unique_ptr<std::byte, Release>(data), ++returns});
}

BackendBuffer BufferPool::take(std::size_t bytes) const {
  std::size_t size = bytes;
  std::unique_ptr<std::byte, Release> data;
  {
    const std::lock_guard lock(blocks_->mutex);
    data = blocks_->find(bytes, size);
    blocks_->use(size);
  }
  if (!data) data.reset(static_cast<std::byte*>(::operator new(bytes, kAlignment, std::nothrow)));
  if (!data) {
    const std::lock_guard lock(blocks_->mutex);
    blocks_->used_bytes -= size;
    fail(ExitCode::kEnvironment,
         "no memory for a buffer of {} bytes (the work of a layer must fit) use more ranks or a larger machine", bytes);
  }
  return {data.release(), bytes, MemSpace::kHost, [blocks = blocks_, size](std::byte* block) { blocks->give_back(block, size); }};
}

}  // namespace mpiquant::cpu
