#include "src/comm/staged_comm.h"

#include <utility>

#include "src/comm/forwarded.h"

namespace mpiquant {
namespace {

class StagedComm final : public Communicator {
 public:
  StagedComm(std::unique_ptr<Communicator> host, DeviceAccess device)
      : Communicator(host->options()), host_(std::move(host)), device_(std::move(device)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  bool moves(MemSpace) const override { return true; }

 private:
  using State = std::shared_ptr<PendingState>;

  // Host memory that stands for a buffer: itself, or a copy of device memory.
  struct Stand {
    std::shared_ptr<std::byte> memory;
    std::byte* data;
    bool staged() const { return memory != nullptr; }
  };
  Stand stand_for(const std::byte* data, std::size_t bytes) const {
    if (bytes == 0 || !device_.is_device(data)) return {nullptr, const_cast<std::byte*>(data)};
    std::shared_ptr<std::byte> memory = device_.allocate_host(bytes);
    return {memory, memory.get()};
  }
  Stand copy_of(std::span<const std::byte> data) const {
    Stand stand = stand_for(data.data(), data.size());
    if (stand.staged()) device_.to_host(data, stand.data);
    return stand;
  }
  // Waits for the operation; then what arrived in `stand` goes to `out` on the device. `also` is kept until then.
  State finish(Pending pending, const Stand& stand, std::span<std::byte> out, std::shared_ptr<std::byte> also = nullptr) const {
    return std::make_shared<Forwarded>(std::move(pending), [this, stand, out, also = std::move(also)] {
      if (stand.staged() && !out.empty()) device_.to_device(stand.data, out);
    });
  }

  std::unique_ptr<Communicator> do_split(int color, int key) override {
    return std::make_unique<StagedComm>(host_->split(color, key), device_);
  }
  State do_barrier() override { return std::make_shared<Forwarded>(host_->start_barrier()); }

  State do_broadcast(std::span<std::byte> data, int root) override {
    const bool sends = rank() == root;
    const Stand stand = sends ? copy_of(data) : stand_for(data.data(), data.size());
    Pending pending = host_->start_broadcast(std::span(stand.data, data.size()), root);
    return finish(std::move(pending), stand, sends ? std::span<std::byte>() : data);
  }
  State do_reduce(Elements data, ReduceOp op, int root) override { return reduce(data, op, root); }
  State do_all_reduce(Elements data, ReduceOp op) override { return reduce(data, op, std::nullopt); }
  State reduce(Elements data, ReduceOp op, std::optional<int> root) {
    const std::span bytes(data.data, data.bytes());
    const Stand stand = copy_of(bytes);
    Pending pending = start_reduction(*host_, {stand.data, data.count, data.element}, op, root);
    return finish(std::move(pending), stand, root && *root != rank() ? std::span<std::byte>() : bytes);
  }

  State do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all) override {
    const Stand from = copy_of(mine), into = stand_for(all.data(), all.size());
    Pending pending =
        host_->start_all_gather_v(std::span<const std::byte>(from.data, mine.size()), counts, std::span(into.data, all.size()));
    return finish(std::move(pending), into, all, from.memory);
  }
  State do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all,
                    int root) override {
    if (rank() != root) all = {};
    const Stand from = copy_of(mine), into = stand_for(all.data(), all.size());
    Pending pending =
        host_->start_gather_v(std::span<const std::byte>(from.data, mine.size()), counts, std::span(into.data, all.size()), root);
    return finish(std::move(pending), into, all, from.memory);
  }
  State do_all_to_all_v(std::span<const std::byte> give, std::span<const std::size_t> give_counts, std::span<std::byte> get,
                        std::span<const std::size_t> get_counts) override {
    const Stand from = copy_of(give), into = stand_for(get.data(), get.size());
    Pending pending = host_->start_all_to_all_v(std::span<const std::byte>(from.data, give.size()), give_counts,
                                                std::span(into.data, get.size()), get_counts);
    return finish(std::move(pending), into, get, from.memory);
  }
  State do_send(std::span<const std::byte> data, int peer, int tag) override {
    const Stand from = copy_of(data);
    Pending pending = host_->start_send(std::span<const std::byte>(from.data, data.size()), peer, tag);
    return finish(std::move(pending), {}, {}, from.memory);
  }
  State do_recv(std::span<std::byte> data, int peer, int tag) override {
    const Stand into = stand_for(data.data(), data.size());
    Pending pending = host_->start_recv(std::span(into.data, data.size()), peer, tag);
    return finish(std::move(pending), into, data);
  }

  std::unique_ptr<Communicator> host_;
  DeviceAccess device_;
};

}  // namespace

std::unique_ptr<Communicator> make_staged_comm(std::unique_ptr<Communicator> host, DeviceAccess device) {
  return std::make_unique<StagedComm>(std::move(host), std::move(device));
}

}  // namespace mpiquant
