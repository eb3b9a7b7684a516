#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "src/base/tensor.h"
#include "src/comm/pending.h"
#include "src/comm/traffic.h"

namespace mpiquant {

// A contiguous buffer and the memory space it lives in. Spans and vectors convert to a host buffer.
template <typename T>
struct Buffer {
  std::span<T> data;
  MemSpace space = MemSpace::kHost;

  Buffer() = default;
  Buffer(std::span<T> span, MemSpace where) : data(span), space(where) {}
  template <typename Range>
  requires(std::constructible_from<std::span<T>, Range&&>) Buffer(Range&& range) : data(range) {}  // NOLINT: implicit by intent
  operator Buffer<const T>() const requires(!std::is_const_v<T>) { return {data, space}; }
};

// The values of a contiguous range as bytes, for the operations that move bytes; const bytes if the range is const.
template <typename Range>
auto bytes_of(Range&& range) {
  const std::span values(range);
  if constexpr (std::is_const_v<typename decltype(values)::element_type>) {
    return Buffer<const std::byte>(std::as_bytes(values));
  } else {
    return Buffer<std::byte>(std::as_writable_bytes(values));
  }
}

enum class Element : std::uint8_t { kInt64, kUint64, kFloat, kDouble };
enum class ReduceOp : std::uint8_t { kSum, kMax };

template <typename T>
concept Reducible =
    std::same_as<T, std::int64_t> || std::same_as<T, std::uint64_t> || std::same_as<T, float> || std::same_as<T, double>;

template <Reducible T>
constexpr Element element_of() {
  if constexpr (std::same_as<T, std::int64_t>) return Element::kInt64;
  if constexpr (std::same_as<T, std::uint64_t>) return Element::kUint64;
  if constexpr (std::same_as<T, float>) return Element::kFloat;
  if constexpr (std::same_as<T, double>) return Element::kDouble;
}

// Untyped form of a buffer of reducible elements, for implementations.
struct Elements {
  std::byte* data;
  std::size_t count;
  Element element;

  std::size_t width() const { return element == Element::kFloat ? 4 : 8; }  // bytes
  std::size_t bytes() const { return count * width(); }
};

struct CommOptions {
  Timeout timeout = std::chrono::minutes(30);        // default deadline of a wait
  std::size_t message_limit = std::size_t{8} << 20;  // bytes; longer payloads travel in pieces
};

// A group of ranks, of size one or more; one is not a special case. Collectives must be begun in the same order with the
// same sizes on all ranks of the group, by the one thread that communicates. start_X begins an operation and returns
// its handle; X is start_X followed by wait(). Buffers in device memory are an internal error
// unless the group moves them (staged_comm.h, nccl_comm.h); what was written to them must have ended before.
// Integer sums are exact and free of order; sums of floating point depend on the number of ranks and belong in reports only.
class Communicator {
 public:
  static constexpr int kMaxTag = 16383;

  explicit Communicator(const CommOptions& options) : options_(options) {}
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Whether buffers in this space may be given.
  virtual bool moves(MemSpace space) const { return space == MemSpace::kHost; }
  // Collective: the group of the ranks that gave the same color (>= 0), ordered by key, then by rank here.
  std::unique_ptr<Communicator> split(int color, int key);

  Pending start_barrier();
  Pending start_broadcast(Buffer<std::byte> data, int root);
  // Sum of `data` over the ranks, in place at the root; the other ranks' data stays.
  template <Reducible T>
  Pending start_reduce_sum(Buffer<T> data, int root) {
    return begin_reduce(elements(data), ReduceOp::kSum, data.space, root);
  }
  // Sum or maximum over the ranks, in place on all of them.
  template <Reducible T>
  Pending start_all_reduce_sum(Buffer<T> data) {
    return begin_all_reduce(elements(data), ReduceOp::kSum, data.space);
  }
  template <Reducible T>
  Pending start_all_reduce_max(Buffer<T> data) {
    return begin_all_reduce(elements(data), ReduceOp::kMax, data.space);
  }
  // Rank r gives counts[r] bytes; `all` gets them one after the other by rank. `mine` may be this rank's own place in `all`.
  Pending start_all_gather_v(Buffer<const std::byte> mine, std::span<const std::size_t> counts, Buffer<std::byte> all);
  // The same at the root only; `all` is not used elsewhere (may be empty).
  Pending start_gather_v(Buffer<const std::byte> mine, std::span<const std::size_t> counts, Buffer<std::byte> all, int root);
  // Rank r gives give_counts[p] bytes to each rank p, and gets get_counts[p] from it; both buffers hold the pieces one after the
  // other by rank. What p gives r is what r gets from p.
  Pending start_all_to_all_v(Buffer<const std::byte> give, std::span<const std::size_t> give_counts, Buffer<std::byte> get,
                             std::span<const std::size_t> get_counts);
  // Point to point; messages of the same peer and tag (0 … kMaxTag) arrive in the order sent; both sides name the same size.
  Pending start_send(Buffer<const std::byte> data, int peer, int tag);
  Pending start_recv(Buffer<std::byte> data, int peer, int tag);

  void barrier() { start_barrier().wait(); }
  void broadcast(Buffer<std::byte> data, int root) { start_broadcast(data, root).wait(); }
  template <Reducible T>
  void reduce_sum(std::span<T> data, int root) {
    start_reduce_sum<T>(data, root).wait();
  }
  template <Reducible T>
  void all_reduce_sum(std::span<T> data) {
    start_all_reduce_sum<T>(data).wait();
  }
  template <Reducible T>
  void all_reduce_max(std::span<T> data) {
    start_all_reduce_max<T>(data).wait();
  }
  void all_gather_v(Buffer<const std::byte> mine, std::span<const std::size_t> counts, Buffer<std::byte> all) {
    start_all_gather_v(mine, counts, all).wait();
  }
  void gather_v(Buffer<const std::byte> mine, std::span<const std::size_t> counts, Buffer<std::byte> all, int root) {
    start_gather_v(mine, counts, all, root).wait();
  }
  void all_to_all_v(Buffer<const std::byte> give, std::span<const std::size_t> give_counts, Buffer<std::byte> get,
                    std::span<const std::size_t> get_counts) {
    start_all_to_all_v(give, give_counts, get, get_counts).wait();
  }
  void send(Buffer<const std::byte> data, int peer, int tag) { start_send(data, peer, tag).wait(); }
  void recv(Buffer<std::byte> data, int peer, int tag) { start_recv(data, peer, tag).wait(); }

  // Default deadline of the operations begun from now on; groups split from this one take it over.
  void set_timeout(Timeout timeout) { options_.timeout = timeout; }
  const CommOptions& options() const { return options_; }
  // Payload so far, of this group alone (not of groups split from it).
  const Traffic& traffic() const { return traffic_; }

 private:
  using State = std::shared_ptr<PendingState>;
  virtual std::unique_ptr<Communicator> do_split(int color, int key) = 0;
  virtual State do_barrier() = 0;
  virtual State do_broadcast(std::span<std::byte> data, int root) = 0;
  virtual State do_reduce(Elements data, ReduceOp op, int root) = 0;
  virtual State do_all_reduce(Elements data, ReduceOp op) = 0;
  virtual State do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts,
                                std::span<std::byte> all) = 0;
  virtual State do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all,
                            int root) = 0;
  virtual State do_all_to_all_v(std::span<const std::byte> give, std::span<const std::size_t> give_counts,
                                std::span<std::byte> get, std::span<const std::size_t> get_counts) = 0;
  virtual State do_send(std::span<const std::byte> data, int peer, int tag) = 0;
  virtual State do_recv(std::span<std::byte> data, int peer, int tag) = 0;

  template <Reducible T>
  static Elements elements(const Buffer<T>& data) {
    return {reinterpret_cast<std::byte*>(data.data.data()), data.data.size(), element_of<T>()};
  }
  Pending begin_reduce(Elements data, ReduceOp op, MemSpace space, int root);
  Pending begin_all_reduce(Elements data, ReduceOp op, MemSpace space);
  void count(CommOp op, std::size_t sent, std::size_t received);
  Pending pending(State state, CommOp op, std::size_t bytes, int peer);

  CommOptions options_;
  Traffic traffic_;
};

}  // namespace mpiquant
