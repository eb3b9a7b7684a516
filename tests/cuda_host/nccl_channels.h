#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace mpiquant::cuda_host {

// Bytes from one rank to another, first in, first out, in memory that processes share.
struct Channel {
  static constexpr std::uint64_t kBytes = std::uint64_t{64} << 10;
  std::atomic<std::uint64_t> written;
  std::atomic<std::uint64_t> read;
  std::byte ring[kBytes];

  // As much as there is room for, or as there is; how much that was.
  std::size_t put(std::span<const std::byte> data);
  std::size_t get(std::span<std::byte> data);
};

// What the ranks of a communicator share: a file in /dev/shm that has no name any more once all have joined.
class Channels {
 public:
  Channels(std::string name, int ranks, int rank);
  ~Channels();
  Channels(const Channels&) = delete;

  bool all_joined() const;
  // This rank takes no further part.
  void leave();
  // A rank that has left or whose process has ended; -1: none.
  int lost_rank() const;
  Channel& to(int peer) { return channel(rank_, peer); }
  Channel& from(int peer) { return channel(peer, rank_); }
  int ranks() const { return ranks_; }
  int rank() const { return rank_; }

 private:
  struct Header {
    std::atomic<int> joined;
    std::atomic<int> process[64];
  };
  Channel& channel(int from, int to);
  std::size_t bytes() const;

  std::string name_;
  int ranks_, rank_;
  void* memory_ = nullptr;
};

}  // namespace mpiquant::cuda_host
