#include "tests/cuda_host/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace mpiquant::cuda_host {
namespace {

constexpr std::size_t kPage = 4096, kGarbage = std::size_t{64} << 20;

struct Block {
  std::size_t bytes;
  Kind kind;
};

struct Registry {
  std::mutex mutex;
  std::map<std::uintptr_t, Block> blocks;
  bool open = false;
};

Registry& registry() {
  static Registry all;
  return all;
}

// A file of bytes that are NaN as floats and out of range as indices; its pages are copied when they are first written.
int garbage_file() {
  static const int file = [] {
    const int made = memfd_create("garbage", MFD_CLOEXEC);
    const std::string bytes(std::size_t{1} << 20, '\xff');
    for (std::size_t at = 0; at < kGarbage; at += bytes.size())
      if (write(made, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
    return made;
  }();
  return file;
}

std::size_t pages(std::size_t bytes) { return std::max<std::size_t>((bytes + kPage - 1) / kPage, 1) * kPage; }

void protect_all(int protection) {
  for (const auto& [start, block] : registry().blocks)
    if (block.kind == Kind::kDevice) mprotect(reinterpret_cast<void*>(start), pages(block.bytes), protection);
}

std::size_t used() {
  std::size_t sum = 0;
  for (const auto& [start, block] : registry().blocks) sum += block.kind == Kind::kDevice ? block.bytes : 0;
  return sum;
}

}  // namespace

std::size_t total_bytes() {
  const char* value = std::getenv("MPIQUANT_CUDA_HOST_BYTES");
  return value == nullptr ? std::size_t{8} << 30 : std::stoull(value);
}

std::size_t free_bytes() {
  const std::lock_guard lock(registry().mutex);
  return total_bytes() - std::min(used(), total_bytes());
}

void* allocate_device(std::size_t bytes) {
  const std::lock_guard lock(registry().mutex);
  if (bytes > total_bytes() - std::min(used(), total_bytes())) return nullptr;
  const int protection = registry().open ? PROT_READ | PROT_WRITE : PROT_NONE;
  auto* start = static_cast<char*>(mmap(nullptr, pages(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  if (start == MAP_FAILED) return nullptr;
  for (std::size_t at = 0; at < pages(bytes); at += kGarbage)
    if (mmap(start + at, std::min(kGarbage, pages(bytes) - at), protection, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
             garbage_file(), 0) == MAP_FAILED)
      return nullptr;
  registry().blocks[reinterpret_cast<std::uintptr_t>(start)] = {bytes, Kind::kDevice};
  return start;
}

void* allocate_pinned(std::size_t bytes) {
  void* data = std::aligned_alloc(kPage, pages(bytes));
  if (data == nullptr) return nullptr;
  std::memset(data, 0xff, bytes);
  const std::lock_guard lock(registry().mutex);
  registry().blocks[reinterpret_cast<std::uintptr_t>(data)] = {bytes, Kind::kPinned};
  return data;
}

bool release(void* data, Kind kind) {
  const std::lock_guard lock(registry().mutex);
  const auto found = registry().blocks.find(reinterpret_cast<std::uintptr_t>(data));
  if (found == registry().blocks.end() || found->second.kind != kind) return false;
  if (kind == Kind::kDevice)
    munmap(data, pages(found->second.bytes));
  else
    std::free(data);
  registry().blocks.erase(found);
  return true;
}

Kind kind_of(const void* data) {
  const std::lock_guard lock(registry().mutex);
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  auto found = registry().blocks.upper_bound(address);
  if (found == registry().blocks.begin()) return Kind::kUnknown;
  --found;
  return address < found->first + std::max<std::size_t>(found->second.bytes, 1) ? found->second.kind : Kind::kUnknown;
}

OpenMemory::OpenMemory() {
  const std::lock_guard lock(registry().mutex);
  registry().open = true;
  protect_all(PROT_READ | PROT_WRITE);
}

OpenMemory::~OpenMemory() {
  const std::lock_guard lock(registry().mutex);
  registry().open = false;
  protect_all(PROT_NONE);
}

}  // namespace mpiquant::cuda_host
