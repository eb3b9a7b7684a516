#include "tests/cuda_host/streams.h"

#include <chrono>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "tests/cuda_host/memory.h"

namespace mpiquant::cuda_host {

Order order() {
  const char* value = std::getenv("MPIQUANT_CUDA_HOST_ORDER");
  const std::string_view name = value == nullptr ? "late" : value;
  return name == "early" ? Order::kEarly : name == "crossed" ? Order::kCrossed : Order::kLate;
}

Streams& Streams::all() {
  static Streams streams;
  return streams;
}

cudaStream_t Streams::make() {
  const std::lock_guard lock(mutex_);
  return *streams_.insert(new CUstream_st).first;
}

void Streams::destroy(cudaStream_t stream) {
  drain(stream);
  const std::lock_guard lock(mutex_);
  streams_.erase(stream);
  delete stream;
}

bool Streams::advance(cudaStream_t stream) {
  if (stream->steps.empty() || !stream->steps.front()()) return false;
  stream->steps.pop_front();
  return true;
}

void Streams::enqueue(cudaStream_t stream, StreamStep step) {
  const std::lock_guard lock(mutex_);
  stream->steps.push_back(std::move(step));
  if (order() != Order::kEarly) return;
  const OpenMemory open;
  while (advance(stream)) continue;
}

void Streams::run_until(cudaStream_t preferred, const std::function<bool()>& reached) {
  std::unique_lock lock(mutex_);
  while (!reached()) {
    bool moved = false;
    {
      const OpenMemory open;
      const bool others_first = order() == Order::kCrossed;
      if (!others_first) moved = preferred != nullptr && advance(preferred);
      if (!moved)
        for (const cudaStream_t stream : streams_)
          if (stream != preferred) moved = advance(stream) || moved;
      if (!moved && others_first) moved = preferred != nullptr && advance(preferred);
    }
    if (moved) continue;
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(20));
    lock.lock();
  }
}

void Streams::drain(cudaStream_t stream) {
  run_until(stream, [&] {
    if (stream != nullptr) return stream->steps.empty();
    for (const cudaStream_t each : streams_)
      if (!each->steps.empty()) return false;
    return true;
  });
}

void Streams::nudge() {
  const std::lock_guard lock(mutex_);
  const OpenMemory open;
  for (const cudaStream_t stream : streams_) advance(stream);
}

void Streams::locked(const std::function<void()>& work) {
  const std::lock_guard lock(mutex_);
  const OpenMemory open;
  work();
}

}  // namespace mpiquant::cuda_host
