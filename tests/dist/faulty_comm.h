#pragma once

#include <memory>
#include <span>
#include <utility>

#include "src/comm/communicator.h"

namespace mpiquant {

// A communicator that flips one bit of the last byte of each result, once the operation has ended: what a check must notice.
class FaultyComm final : public Communicator {
 public:
  explicit FaultyComm(Communicator& inner) : Communicator(inner.options()), inner_(inner) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }

 private:
  using State = std::shared_ptr<PendingState>;

  class Spoiled final : public PendingState {
   public:
    Spoiled(Pending pending, std::span<std::byte> result) : pending_(std::move(pending)), result_(result) {}
    bool advance() override {
      if (!pending_.test()) return false;
      if (!result_.empty()) result_.back() ^= std::byte{1};
      return true;
    }
    void abandon() noexcept override { pending_ = {}; }

   private:
    Pending pending_;
    std::span<std::byte> result_;
  };

  static State spoil(Pending pending, std::span<std::byte> result) {
    return std::make_shared<Spoiled>(std::move(pending), result);
  }
  static std::span<std::byte> bytes(Elements data) { return {data.data, data.bytes()}; }
  template <typename T>
  static std::span<T> typed(Elements data) {
    return {reinterpret_cast<T*>(data.data), data.count};
  }

  std::unique_ptr<Communicator> do_split(int color, int key) override { return inner_.split(color, key); }
  State do_barrier() override { return spoil(inner_.start_barrier(), {}); }
  State do_broadcast(std::span<std::byte> data, int root) override { return spoil(inner_.start_broadcast(data, root), data); }
  State do_reduce(Elements data, ReduceOp, int root) override {
    return spoil(inner_.start_reduce_sum<std::int64_t>(typed<std::int64_t>(data), root), bytes(data));
  }
  State do_all_reduce(Elements data, ReduceOp op) override {
    const auto values = typed<std::int64_t>(data);
    return spoil(op == ReduceOp::kSum ? inner_.start_all_reduce_sum<std::int64_t>(values)
                                      : inner_.start_all_reduce_max<std::int64_t>(values),
                 bytes(data));
  }
  State do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all) override {
    return spoil(inner_.start_all_gather_v(mine, counts, all), all);
  }
  State do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all,
                    int root) override {
    return spoil(inner_.start_gather_v(mine, counts, all, root), all);
  }
  State do_all_to_all_v(std::span<const std::byte> give, std::span<const std::size_t> give_counts, std::span<std::byte> get,
                        std::span<const std::size_t> get_counts) override {
    return spoil(inner_.start_all_to_all_v(give, give_counts, get, get_counts), get);
  }
  State do_send(std::span<const std::byte> data, int peer, int tag) override {
    return spoil(inner_.start_send(data, peer, tag), {});
  }
  State do_recv(std::span<std::byte> data, int peer, int tag) override { return spoil(inner_.start_recv(data, peer, tag), data); }

  Communicator& inner_;
};

}  // namespace mpiquant
