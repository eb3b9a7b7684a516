#include "tests/cuda_host/nccl_channels.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

namespace mpiquant::cuda_host {
namespace {

constexpr int kLeft = -1;  // in the place of a process

// Gone, or waiting for its parent to notice.
bool has_ended(int process) {
  if (kill(process, 0) != 0) return true;
  std::ifstream stat("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(stat, text);
  const std::size_t name_end = text.rfind(')');
  return name_end == std::string::npos || text.compare(name_end + 2, 1, "Z") == 0;
}

}  // namespace

std::size_t Channel::put(std::span<const std::byte> data) {
  const std::uint64_t at = written.load(), free = kBytes - (at - read.load());
  const std::size_t count = std::min<std::size_t>(data.size(), free);
  for (std::size_t done = 0; done < count;) {
    const std::size_t start = (at + done) % kBytes, run = std::min<std::size_t>(count - done, kBytes - start);
    std::memcpy(ring + start, data.data() + done, run);
    done += run;
  }
  written.store(at + count);
  return count;
}

std::size_t Channel::get(std::span<std::byte> data) {
  const std::uint64_t at = read.load(), there = written.load() - at;
  const std::size_t count = std::min<std::size_t>(data.size(), there);
  for (std::size_t done = 0; done < count;) {
    const std::size_t start = (at + done) % kBytes, run = std::min<std::size_t>(count - done, kBytes - start);
    std::memcpy(data.data() + done, ring + start, run);
    done += run;
  }
  read.store(at + count);
  return count;
}

Channels::Channels(std::string name, int ranks, int rank) : name_(std::move(name)), ranks_(ranks), rank_(rank) {
  const int file = shm_open(name_.c_str(), O_CREAT | O_RDWR, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(bytes())) != 0) std::abort();
  memory_ = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory_ == MAP_FAILED || ranks > 64) std::abort();
  auto* header = static_cast<Header*>(memory_);
  header->process[rank].store(getpid());
  if (header->joined.fetch_add(1) + 1 == ranks) shm_unlink(name_.c_str());
}

Channels::~Channels() {
  if (!all_joined()) shm_unlink(name_.c_str());
  munmap(memory_, bytes());
}

bool Channels::all_joined() const { return static_cast<const Header*>(memory_)->joined.load() == ranks_; }

void Channels::leave() { static_cast<Header*>(memory_)->process[rank_].store(kLeft); }

int Channels::lost_rank() const {
  for (int r = 0; r < ranks_; ++r)
    if (const int process = static_cast<const Header*>(memory_)->process[r].load();
        process == kLeft || (process != 0 && has_ended(process)))
      return r;
  return -1;
}

Channel& Channels::channel(int from, int to) {
  auto* first = reinterpret_cast<Channel*>(static_cast<std::byte*>(memory_) + sizeof(Header));
  return first[from * ranks_ + to];
}

std::size_t Channels::bytes() const {
  return sizeof(Header) + sizeof(Channel) * static_cast<std::size_t>(ranks_) * static_cast<std::size_t>(ranks_);
}

}  // namespace mpiquant::cuda_host
