#include "src/comm/nccl_comm.h"

#include <cuda_runtime.h>
#include <nccl.h>

#include <chrono>
#include <functional>
#include <utility>

#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "src/comm/cuda_check.h"
#include "src/comm/forwarded.h"

namespace mpiquant {
namespace {

void check_nccl(ncclResult_t result, const char* call) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  fail(ExitCode::kEnvironment,
       "{} failed: {}; {} (the ranks' GPUs cannot exchange their sums) look at the other ranks' logs and NCCL_DEBUG=INFO, then "
       "resume, or "
       "use --reduce mpi",
       call, ncclGetErrorString(result), ncclGetLastError(nullptr));
}

ncclDataType_t nccl_type(Element element) {
  switch (element) {
    case Element::kInt64: return ncclInt64;
    case Element::kUint64: return ncclUint64;
    case Element::kFloat: return ncclFloat;
    case Element::kDouble: return ncclDouble;
  }
  fail(ExitCode::kInternal, "unknown element {}", static_cast<int>(element));
}

// NCCL's communicator with its stream. NCCL works in the background: a call may still be in progress when it returns.
class NcclGroup {
 public:
  // Delegates, so that what has begun is ended when the rest fails.
  NcclGroup(Communicator& host, int device) : NcclGroup(host.options().timeout) {
    check_cuda_call(cudaSetDevice(device), "cudaSetDevice");
    ncclUniqueId id{};
    collectively_id(host, id);
    check_cuda_call(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    agree(host, attempt([&] {
            ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
            config.blocking = 0;
            check_nccl(ncclCommInitRankConfig(&comm_, host.size(), id, host.rank(), &config), "ncclCommInitRankConfig");
          }));
    settle("ncclCommInitRank");
  }
  ~NcclGroup() {
    break_down();  // nothing is under way any more
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
  }
  NcclGroup(const NcclGroup&) = delete;
  NcclGroup& operator=(const NcclGroup&) = delete;

  ncclComm_t get() const {
    check(comm_ != nullptr, ExitCode::kEnvironment,
          "the group of GPUs is broken (an operation was given up before it had ended)");
    return comm_;
  }
  cudaStream_t stream() const { return stream_; }
  // Ends at once what is under way, which may wait for a rank that never comes, and with it all that waits for the device.
  void break_down() noexcept {
    if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
  }

  // Whether NCCL has queued all that it was asked for. Throws when it found an error, such as a peer that is gone.
  bool settled() {
    ncclResult_t state = ncclSuccess;
    check_nccl(ncclCommGetAsyncError(get(), &state), "ncclCommGetAsyncError");
    if (state == ncclInProgress) return false;
    if (state != ncclSuccess) break_down();
    check_nccl(state, "NCCL");
    return true;
  }
  // Waits for that; call names it.
  void settle(const char* call) {
    const auto deadline = std::chrono::steady_clock::now() + timeout_;
    BackOff back_off;
    while (!settled()) {
      check(std::chrono::steady_clock::now() < deadline, ExitCode::kEnvironment,
            "{} has not ended after {} s (a rank is lost, stuck or much slower than the others) look at the other ranks' logs, "
            "then resume",
            call, std::chrono::duration<double>(timeout_).count());
      back_off.pause();
    }
  }

 private:
  explicit NcclGroup(Timeout timeout) : timeout_(timeout) {}

  static void collectively_id(Communicator& host, ncclUniqueId& id) {
    agree(host, attempt([&] {
            if (host.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
          }));
    host.broadcast(bytes_of(std::span(&id, 1)), 0);
  }

  Timeout timeout_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
};

// Calls that NCCL takes together. When one of them throws, the others end before the communicator is given up.
class OpenGroup {
 public:
  OpenGroup() { check_nccl(ncclGroupStart(), "ncclGroupStart"); }
  ~OpenGroup() {
    if (open_) ncclGroupEnd();
  }
  OpenGroup(const OpenGroup&) = delete;
  OpenGroup& operator=(const OpenGroup&) = delete;

  ncclResult_t end() {
    open_ = false;
    return ncclGroupEnd();
  }

 private:
  bool open_ = true;
};

// What was queued on the group's stream up to an event.
class NcclOperation final : public PendingState {
 public:
  NcclOperation(std::shared_ptr<NcclGroup> group, const char* call) : group_(std::move(group)) {
    group_->settle(call);
    check_cuda_call(cudaEventCreateWithFlags(&done_, cudaEventDisableTiming), "cudaEventCreate");
    check_cuda_call(cudaEventRecord(done_, group_->stream()), "cudaEventRecord");
  }
  ~NcclOperation() override { cudaEventDestroy(done_); }
  NcclOperation(const NcclOperation&) = delete;
  NcclOperation& operator=(const NcclOperation&) = delete;

  bool advance() override {
    if (!group_->settled()) return false;
    const cudaError_t state = cudaEventQuery(done_);
    if (state == cudaErrorNotReady) return false;
    check_cuda_call(state, "cudaEventQuery");
    return true;
  }
  void abandon() noexcept override { group_->break_down(); }

 private:
  std::shared_ptr<NcclGroup> group_;
  cudaEvent_t done_ = nullptr;
};

class NcclComm final : public Communicator {
 public:
  NcclComm(std::unique_ptr<Communicator> host, int device)
      : Communicator(host->options()),
        host_(std::move(host)),
        device_(device),
        group_(std::make_shared<NcclGroup>(*host_, device)) {}

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  bool moves(MemSpace) const override { return true; }

 private:
  using State = std::shared_ptr<PendingState>;

  // Buffers without bytes go with the host's; ranks agree, or have nothing to exchange.
  static bool on_device(std::span<const std::byte> data) { return !data.empty() && is_device_memory(data.data()); }
  static State forward(Pending pending) { return std::make_shared<Forwarded>(std::move(pending)); }
  State begun(const char* call) { return std::make_shared<NcclOperation>(group_, call); }
  // Several calls as one.
  template <typename Calls>
  State grouped(const char* call, const Calls& calls) {
    OpenGroup open;
    calls();
    check_nccl(open.end(), call);
    return begun(call);
  }
  void give(std::span<const std::byte> data, int peer) {
    if (!data.empty())
      check_nccl(ncclSend(data.data(), data.size(), ncclUint8, peer, group_->get(), group_->stream()), "ncclSend");
  }
  void get(std::span<std::byte> data, int peer) {
    if (!data.empty())
      check_nccl(ncclRecv(data.data(), data.size(), ncclUint8, peer, group_->get(), group_->stream()), "ncclRecv");
  }
  void copy(std::span<const std::byte> from, std::span<std::byte> to) {
    if (from.empty() || from.data() == to.data()) return;
    check_cuda_call(cudaMemcpyAsync(to.data(), from.data(), from.size(), cudaMemcpyDefault, group_->stream()), "cudaMemcpyAsync");
  }

  std::unique_ptr<Communicator> do_split(int color, int key) override {
    return std::make_unique<NcclComm>(host_->split(color, key), device_);
  }
  State do_barrier() override { return forward(host_->start_barrier()); }

  State do_broadcast(std::span<std::byte> data, int root) override {
    if (!on_device(data)) return forward(host_->start_broadcast(data, root));
    check_nccl(ncclBroadcast(data.data(), data.data(), data.size(), ncclUint8, root, group_->get(), group_->stream()),
               "ncclBroadcast");
    return begun("ncclBroadcast");
  }
  State do_reduce(Elements data, ReduceOp op, int root) override {
    if (!on_device({data.data, data.bytes()})) return forward(start_reduction(*host_, data, op, root));
    check_nccl(
        ncclReduce(data.data, data.data, data.count, nccl_type(data.element), nccl_op(op), root, group_->get(), group_->stream()),
        "ncclReduce");
    return begun("ncclReduce");
  }
  State do_all_reduce(Elements data, ReduceOp op) override {
    if (!on_device({data.data, data.bytes()})) return forward(start_reduction(*host_, data, op, std::nullopt));
    check_nccl(
        ncclAllReduce(data.data, data.data, data.count, nccl_type(data.element), nccl_op(op), group_->get(), group_->stream()),
        "ncclAllReduce");
    return begun("ncclAllReduce");
  }
  State do_all_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all) override {
    if (!on_device(all)) return forward(host_->start_all_gather_v(mine, counts, all));
    std::vector<std::span<std::byte>> places;
    for (const std::size_t count : counts) {
      places.push_back(all.first(count));
      all = all.subspan(count);
    }
    copy(mine, places[static_cast<std::size_t>(rank())]);
    return grouped("ncclBroadcast", [&] {
      for (std::size_t r = 0; r < places.size(); ++r)
        if (!places[r].empty())
          check_nccl(ncclBroadcast(places[r].data(), places[r].data(), places[r].size(), ncclUint8, static_cast<int>(r),
                                   group_->get(), group_->stream()),
                     "ncclBroadcast");
    });
  }
  State do_gather_v(std::span<const std::byte> mine, std::span<const std::size_t> counts, std::span<std::byte> all,
                    int root) override {
    if (!on_device(mine) && !(rank() == root && on_device(all))) return forward(host_->start_gather_v(mine, counts, all, root));
    return grouped("ncclSend", [&] {
      if (rank() != root) return give(mine, root);
      for (std::size_t r = 0; r < counts.size(); ++r) {
        const std::span<std::byte> place = all.first(counts[r]);
        all = all.subspan(counts[r]);
        if (static_cast<int>(r) == rank())
          copy(mine, place);
        else
          get(place, static_cast<int>(r));
      }
    });
  }
  State do_all_to_all_v(std::span<const std::byte> given, std::span<const std::size_t> give_counts, std::span<std::byte> got,
                        std::span<const std::size_t> get_counts) override {
    if (!on_device(given) && !on_device(got)) return forward(host_->start_all_to_all_v(given, give_counts, got, get_counts));
    return grouped("ncclSend", [&] {
      for (std::size_t r = 0; r < give_counts.size(); ++r) {
        const std::span<const std::byte> to = given.first(give_counts[r]);
        const std::span<std::byte> from = got.first(get_counts[r]);
        given = given.subspan(to.size());
        got = got.subspan(from.size());
        if (static_cast<int>(r) == rank()) {
          copy(to, from);
        } else {
          give(to, static_cast<int>(r));
          get(from, static_cast<int>(r));
        }
      }
    });
  }
  State do_send(std::span<const std::byte> data, int peer, int tag) override {
    if (!on_device(data)) return forward(host_->start_send(data, peer, tag));
    expect(tag == 0, "a device message with tag {}", tag);
    return grouped("ncclSend", [&] { give(data, peer); });
  }
  State do_recv(std::span<std::byte> data, int peer, int tag) override {
    if (!on_device(data)) return forward(host_->start_recv(data, peer, tag));
    expect(tag == 0, "a device message with tag {}", tag);
    return grouped("ncclRecv", [&] { get(data, peer); });
  }

  static ncclRedOp_t nccl_op(ReduceOp op) { return op == ReduceOp::kSum ? ncclSum : ncclMax; }

  std::unique_ptr<Communicator> host_;
  int device_;
  std::shared_ptr<NcclGroup> group_;
};

}  // namespace

std::unique_ptr<Communicator> make_nccl_comm(std::unique_ptr<Communicator> host, int device) {
  agree(*host, attempt([] {
    int loaded = 0;
    check_nccl(ncclGetVersion(&loaded), "ncclGetVersion");
    check(loaded >= NCCL_VERSION_CODE, ExitCode::kEnvironment,
          "the NCCL library is {} and this program was built with {} (an older one lacks what it calls) load that version or a "
          "newer one, or use --reduce mpi",
          loaded, NCCL_VERSION_CODE);
  }));
  return std::make_unique<NcclComm>(std::move(host), device);
}

std::string nccl_version() {
  int version = 0;
  check_nccl(ncclGetVersion(&version), "ncclGetVersion");
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

}  // namespace mpiquant
