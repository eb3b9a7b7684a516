#include "kernels/cuda/memory.h"

#include <algorithm>

#include "src/base/error.h"

namespace mpiquant::cuda {
namespace {

// What cuBLASLt, cuSOLVER, NCCL and kernels that are loaded later take for themselves: not measured, a generous guess.
std::size_t for_libraries(std::size_t total) { return std::min(std::size_t{1} << 30, total / 64); }

struct Memory {
  std::size_t free, total;  // free: for our own buffers
};
Memory memory_of(int device) {
  check_cuda(cudaSetDevice(device), "cudaSetDevice");
  Memory out{};
  check_cuda(cudaMemGetInfo(&out.free, &out.total), "cudaMemGetInfo");
  out.free -= std::min(out.free, for_libraries(out.total));
  return out;
}

std::size_t region_bytes(int device, std::size_t wanted) {
  const auto [free, total] = memory_of(device);
  if (wanted == 0) return free / 10 * 9;
  check(wanted <= free, ExitCode::kUsage,
        "the work needs {} MB on the GPU and {} of its {} MB are free (it would stop in the middle) use more ranks, fewer "
        "samples, or a "
        "GPU with more memory",
        wanted >> 20, free >> 20, total >> 20);
  return wanted;
}

DeviceOwner allocate_region(std::size_t bytes) {
  void* data = nullptr;
  check_cuda(cudaMalloc(&data, bytes), "cudaMalloc");
  return DeviceOwner(static_cast<std::byte*>(data));
}

}  // namespace

std::size_t free_bytes(int device) { return memory_of(device).free; }

DeviceMemory::DeviceMemory(int device, std::size_t bytes) : device_(device), arena_(region_bytes(device, bytes)) {
  region_ = allocate_region(arena_.bytes());
}

BackendBuffer DeviceMemory::allocate(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  std::optional<std::size_t> offset = arena_.take(bytes, queue());
  if (!offset) {
    // Nothing is given back while the lock is held, so all that was is settled once the device has ended its work.
    check_cuda(cudaSetDevice(device_), "cudaSetDevice");
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    for (const auto& [thread, queue] : queues_) arena_.settle(queue);
    offset = arena_.take(bytes, queue());
  }
  check(offset.has_value(), ExitCode::kEnvironment,
        "no place of {} MB on the GPU: {} of {} MB are in use, the largest gap is {} MB (the work of a layer must fit) use more "
        "ranks, "
        "fewer samples or a GPU with more memory",
        bytes >> 20, arena_.used() >> 20, arena_.bytes() >> 20, arena_.largest_free() >> 20);
  std::byte* start = region_.get();
  return {start + *offset, bytes, MemSpace::kDevice,
          [self = shared_from_this(), start](std::byte* data) { self->give(static_cast<std::size_t>(data - start)); }};
}

int DeviceMemory::queue() const {
  const auto found = queues_.find(std::this_thread::get_id());
  return found == queues_.end() ? Arena::kNoQueue : found->second;
}

void DeviceMemory::give(std::size_t offset) {
  const std::lock_guard lock(mutex_);
  arena_.give(offset, queue());
}

DeviceMemory::Turn::Turn(DeviceMemory& memory, int queue, cudaStream_t stream) : memory_(memory), stream_(stream) {
  check_cuda(cudaSetDevice(memory_.device_), "cudaSetDevice");
  const std::lock_guard lock(memory_.mutex_);
  memory_.queues_[std::this_thread::get_id()] = queue;
}

DeviceMemory::Turn::~Turn() {
  cudaStreamSynchronize(stream_);  // an error shows in the next checked call
  const std::lock_guard lock(memory_.mutex_);
  const auto mine = memory_.queues_.find(std::this_thread::get_id());
  memory_.arena_.settle(mine->second);
  memory_.queues_.erase(mine);
}

}  // namespace mpiquant::cuda
