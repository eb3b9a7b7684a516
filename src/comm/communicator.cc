#include "src/comm/communicator.h"

#include <utility>

#include "src/base/error.h"

namespace mpiquant {
namespace {

void expect_moves(const Communicator& comm, MemSpace space, CommOp op) {
  expect(comm.moves(space), "{} of a device buffer on a communicator that moves host memory only", name_of(op));
}

void expect_rank(const Communicator& comm, int rank, CommOp op) {
  expect(rank >= 0 && rank < comm.size(), "{} names rank {} of a group of {}", name_of(op), rank, comm.size());
}

// Sum of the counts, one for each rank.
std::size_t sum_of(const Communicator& comm, std::span<const std::size_t> counts, CommOp op) {
  expect(counts.size() == static_cast<std::size_t>(comm.size()), "{} of {} counts in a group of {}", name_of(op), counts.size(),
         comm.size());
  std::size_t total = 0;
  for (const std::size_t count : counts) total += count;
  return total;
}

// The same; checks that they fit this rank's buffers.
std::size_t expect_counts(const Communicator& comm, std::span<const std::byte> mine, std::span<const std::size_t> counts,
                          CommOp op) {
  const std::size_t total = sum_of(comm, counts, op);
  const std::size_t own = counts[static_cast<std::size_t>(comm.rank())];
  expect(mine.size() == own, "{}: rank {} gives {} bytes, but its count is {}", name_of(op), comm.rank(), mine.size(), own);
  return total;
}

}  // namespace

std::unique_ptr<Communicator> Communicator::split(int color, int key) {
  expect(color >= 0, "split with color {}", color);
  return do_split(color, key);
}

Pending Communicator::start_barrier() {
  count(CommOp::kBarrier, 0, 0);
  return pending(do_barrier(), CommOp::kBarrier, 0, -1);
}

Pending Communicator::start_broadcast(Buffer<std::byte> data, int root) {
  expect_moves(*this, data.space, CommOp::kBroadcast);
  expect_rank(*this, root, CommOp::kBroadcast);
  const std::size_t bytes = data.data.size();
  const bool sends = rank() == root;
  count(CommOp::kBroadcast, sends && size() > 1 ? bytes : 0, sends ? 0 : bytes);
  return pending(do_broadcast(data.data, root), CommOp::kBroadcast, bytes, root);
}

Pending Communicator::begin_reduce(Elements data, ReduceOp op, MemSpace space, int root) {
  expect_moves(*this, space, CommOp::kReduce);
  expect_rank(*this, root, CommOp::kReduce);
  const std::size_t bytes = data.bytes();
  const auto others = static_cast<std::size_t>(size() - 1);
  count(CommOp::kReduce, rank() == root ? 0 : bytes, rank() == root ? bytes * others : 0);
  return pending(do_reduce(data, op, root), CommOp::kReduce, bytes, root);
}

Pending Communicator::begin_all_reduce(Elements data, ReduceOp op, MemSpace space) {
  expect_moves(*this, space, CommOp::kAllReduce);
  const std::size_t bytes = size() > 1 ? data.bytes() : 0;
  count(CommOp::kAllReduce, bytes, bytes);
  return pending(do_all_reduce(data, op), CommOp::kAllReduce, data.bytes(), -1);
}

Pending Communicator::start_all_gather_v(Buffer<const std::byte> mine, std::span<const std::size_t> counts,
                                         Buffer<std::byte> all) {
  expect_moves(*this, mine.space, CommOp::kAllGather);
  expect_moves(*this, all.space, CommOp::kAllGather);
  const std::size_t total = expect_counts(*this, mine.data, counts, CommOp::kAllGather);
  expect(all.data.size() == total, "all-gather of {} bytes into {}", total, all.data.size());
  count(CommOp::kAllGather, size() > 1 ? mine.data.size() : 0, total - mine.data.size());
  return pending(do_all_gather_v(mine.data, counts, all.data), CommOp::kAllGather, total, -1);
}

Pending Communicator::start_gather_v(Buffer<const std::byte> mine, std::span<const std::size_t> counts, Buffer<std::byte> all,
                                     int root) {
  expect_moves(*this, mine.space, CommOp::kGather);
  expect_moves(*this, all.space, CommOp::kGather);
  expect_rank(*this, root, CommOp::kGather);
  const std::size_t total = expect_counts(*this, mine.data, counts, CommOp::kGather);
  expect(rank() != root || all.data.size() == total, "gather of {} bytes into {}", total, all.data.size());
  count(CommOp::kGather, rank() == root ? 0 : mine.data.size(), rank() == root ? total - mine.data.size() : 0);
  return pending(do_gather_v(mine.data, counts, all.data, root), CommOp::kGather, total, root);
}

Pending Communicator::start_all_to_all_v(Buffer<const std::byte> give, std::span<const std::size_t> give_counts,
                                         Buffer<std::byte> get, std::span<const std::size_t> get_counts) {
  expect_moves(*this, give.space, CommOp::kAllToAll);
  expect_moves(*this, get.space, CommOp::kAllToAll);
  const std::size_t given = sum_of(*this, give_counts, CommOp::kAllToAll);
  const std::size_t got = sum_of(*this, get_counts, CommOp::kAllToAll);
  expect(give.data.size() == given && get.data.size() == got, "all-to-all of {} and {} bytes in buffers of {} and {}", given, got,
         give.data.size(), get.data.size());
  const auto own = static_cast<std::size_t>(rank());
  expect(give_counts[own] == get_counts[own], "all-to-all: rank {} gives itself {} bytes and gets {}", own, give_counts[own],
         get_counts[own]);
  count(CommOp::kAllToAll, given - give_counts[own], got - get_counts[own]);
  return pending(do_all_to_all_v(give.data, give_counts, get.data, get_counts), CommOp::kAllToAll, given + got, -1);
}

Pending Communicator::start_send(Buffer<const std::byte> data, int peer, int tag) {
  expect_moves(*this, data.space, CommOp::kSend);
  expect_rank(*this, peer, CommOp::kSend);
  expect(tag >= 0 && tag <= kMaxTag, "send with tag {}", tag);
  count(CommOp::kSend, data.data.size(), 0);
  return pending(do_send(data.data, peer, tag), CommOp::kSend, data.data.size(), peer);
}

Pending Communicator::start_recv(Buffer<std::byte> data, int peer, int tag) {
  expect_moves(*this, data.space, CommOp::kReceive);
  expect_rank(*this, peer, CommOp::kReceive);
  expect(tag >= 0 && tag <= kMaxTag, "receive with tag {}", tag);
  count(CommOp::kReceive, 0, data.data.size());
  return pending(do_recv(data.data, peer, tag), CommOp::kReceive, data.data.size(), peer);
}

void Communicator::count(CommOp op, std::size_t sent, std::size_t received) {
  ++traffic_[op].calls;
  traffic_[op].sent += sent;
  traffic_[op].received += received;
}

Pending Communicator::pending(State state, CommOp op, std::size_t bytes, int peer) {
  std::string what = fmt::format("rank {} of {}: {}", rank(), size(), name_of(op));
  if (op != CommOp::kBarrier) what += fmt::format(" of {} bytes", bytes);
  if (peer >= 0) what += fmt::format(" with rank {}", peer);
  return {std::move(state), std::move(what), options_.timeout};
}

}  // namespace mpiquant
