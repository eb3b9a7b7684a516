#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mpiquant {

enum class CommOp : std::uint8_t { kBarrier, kBroadcast, kReduce, kAllReduce, kGather, kAllGather, kAllToAll, kSend, kReceive };
inline constexpr std::size_t kCommOps = 9;

std::string_view name_of(CommOp op);

// Payload bytes of one kind of operation on one rank, whatever the algorithm underneath does with them:
//   broadcast   the root sent b once, every other rank received b        reduce      others sent b, the root received b·(size−1)
//   all-reduce  every rank sent b and received b                         gather      others sent theirs, the root received theirs
//   all-gather  every rank sent its own and received the others'         send, recv  as they are
//   all-to-all  what goes to and comes from the other ranks
// With one rank nothing is sent or received. Over all ranks of a reduce or gather, sent and received are equal.
struct TrafficRow {
  std::uint64_t calls = 0;
  std::uint64_t sent = 0;      // bytes
  std::uint64_t received = 0;  // bytes
};

struct Traffic {
  std::array<TrafficRow, kCommOps> rows;

  TrafficRow& operator[](CommOp op) { return rows[static_cast<std::size_t>(op)]; }
  const TrafficRow& operator[](CommOp op) const { return rows[static_cast<std::size_t>(op)]; }
  Traffic& operator+=(const Traffic& other);
};

}  // namespace mpiquant
