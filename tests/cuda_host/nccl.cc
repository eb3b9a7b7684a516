// NCCL between processes of one machine. As with a non-blocking communicator of NCCL's, calls only note what is to happen; it is
// queued on the stream while the caller asks for errors. A rank that is lost, its process or its communicator, is an error that
// stays. MPIQUANT_CUDA_HOST_NCCL_FAILS=RANK:N makes the Nth exchange of a rank fail.
#include <nccl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda_host/nccl_channels.h"
#include "tests/cuda_host/streams.h"

namespace {

using mpiquant::cuda_host::Channels;
using mpiquant::cuda_host::Streams;

struct Transfer {
  bool sends;
  int peer;
  std::byte* data;
  std::size_t bytes;
  std::size_t done = 0;
};

// Transfers that go on together, and what is done with their results. Those of one direction and peer follow each other.
struct Exchange {
  std::vector<Transfer> transfers;
  std::vector<std::function<void()>> before, after;
  bool began = false;

  bool advance(Channels& channels) {
    if (!std::exchange(began, true))
      for (const auto& work : before) work();
    bool all = true;
    std::vector<std::pair<bool, int>> waiting;
    for (Transfer& t : transfers) {
      const std::pair<bool, int> way{t.sends, t.peer};
      if (std::find(waiting.begin(), waiting.end(), way) == waiting.end()) {
        const std::span<std::byte> rest(t.data + t.done, t.bytes - t.done);
        t.done += t.sends ? channels.to(t.peer).put(rest) : channels.from(t.peer).get(rest);
      }
      if (t.done == t.bytes) continue;
      waiting.push_back(way);
      all = false;
    }
    if (all)
      for (const auto& work : after) work();
    return all;
  }
};

}  // namespace

struct ncclComm {
  std::shared_ptr<Channels> channels;
  std::vector<std::pair<cudaStream_t, std::shared_ptr<Exchange>>> noted;  // not yet queued
  std::shared_ptr<bool> aborted = std::make_shared<bool>(false);
  ncclResult_t error = ncclSuccess;
  std::chrono::steady_clock::time_point looked{};
};

namespace {

struct Group {
  int depth = 0;
  ncclComm_t comm = nullptr;
  cudaStream_t stream = nullptr;
  std::shared_ptr<Exchange> exchange;
};
Group& group() {
  thread_local Group mine;
  return mine;
}

// What a call adds to: the group's exchange, or one of its own.
std::shared_ptr<Exchange> noted(ncclComm_t comm, cudaStream_t stream) {
  Group& mine = group();
  if (mine.depth > 0) {
    if (!mine.exchange) mine = {mine.depth, comm, stream, std::make_shared<Exchange>()};
    return mine.exchange;
  }
  return comm->noted.emplace_back(stream, std::make_shared<Exchange>()).second;
}

std::size_t size_of(ncclDataType_t type) { return type == ncclUint8 ? 1 : type == ncclFloat ? 4 : 8; }

template <typename T>
void combine_as(std::byte* into, const std::byte* other, std::size_t count, ncclRedOp_t op) {
  auto* a = reinterpret_cast<T*>(into);
  const auto* b = reinterpret_cast<const T*>(other);
  for (std::size_t i = 0; i < count; ++i) a[i] = op == ncclSum ? static_cast<T>(a[i] + b[i]) : std::max(a[i], b[i]);
}

void combine(std::byte* into, const std::byte* other, std::size_t count, ncclDataType_t type, ncclRedOp_t op) {
  switch (type) {
    case ncclInt64: return combine_as<std::int64_t>(into, other, count, op);
    case ncclUint64: return combine_as<std::uint64_t>(into, other, count, op);
    case ncclFloat: return combine_as<float>(into, other, count, op);
    default: return combine_as<double>(into, other, count, op);
  }
}

bool fails_now(int rank) {
  static std::atomic<int> exchanges{0};
  const char* value = std::getenv("MPIQUANT_CUDA_HOST_NCCL_FAILS");
  return value != nullptr && std::to_string(rank) + ":" + std::to_string(exchanges.fetch_add(1)) == value;
}

ncclResult_t state_of(ncclComm_t comm) { return comm->error == ncclSuccess ? ncclInProgress : comm->error; }

// Sends this rank's values to each of `receivers`; where this rank is one, sums in the order of ranks.
ncclResult_t reduce(const void* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t op, int first_receiver,
                    int last_receiver, ncclComm_t comm, cudaStream_t stream) {
  if (from != to) return ncclInvalidUsage;
  const auto exchange = noted(comm, stream);
  const std::size_t bytes = count * size_of(type);
  const int ranks = comm->channels->ranks(), me = comm->channels->rank();
  const auto own = std::make_shared<std::vector<std::byte>>(bytes);
  exchange->before.push_back([own, from, bytes] { std::memcpy(own->data(), from, bytes); });
  for (int r = first_receiver; r <= last_receiver; ++r)
    if (r != me) exchange->transfers.push_back({true, r, own->data(), bytes});
  if (me < first_receiver || me > last_receiver) return state_of(comm);
  const auto values = std::make_shared<std::vector<std::vector<std::byte>>>(ranks, std::vector<std::byte>(bytes));
  for (int r = 0; r < ranks; ++r)
    if (r != me) exchange->transfers.push_back({false, r, (*values)[static_cast<std::size_t>(r)].data(), bytes});
  exchange->after.push_back([=] {
    (*values)[static_cast<std::size_t>(me)] = *own;
    for (std::size_t r = 1; r < values->size(); ++r) combine(values->front().data(), (*values)[r].data(), count, type, op);
    std::memcpy(to, values->front().data(), bytes);
  });
  return state_of(comm);
}

}  // namespace

ncclResult_t ncclGetVersion(int* version) {
  *version = NCCL_VERSION_CODE;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error" : "unhandled system error";
}
const char* ncclGetLastError(ncclComm_t) { return ""; }

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> count{0};
  std::snprintf(id->internal, sizeof id->internal, "/mpiquant-nccl-%d-%d", static_cast<int>(getpid()), count.fetch_add(1));
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0) return ncclInvalidUsage;
  *comm = new ncclComm{std::make_shared<Channels>(id.internal, ranks, rank)};
  return ncclInProgress;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  Streams::all().locked([&] { *comm->aborted = true; });
  comm->channels->leave();
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  const auto now = std::chrono::steady_clock::now();
  if (now - comm->looked > std::chrono::milliseconds(100)) {
    comm->looked = now;
    if (comm->channels->lost_rank() >= 0) comm->error = ncclRemoteError;
  }
  *error = state_of(comm);
  if (comm->error != ncclSuccess || !comm->channels->all_joined()) return ncclSuccess;
  if (comm->noted.empty()) *error = ncclSuccess;
  if (!comm->noted.empty() && fails_now(comm->channels->rank())) *error = comm->error = ncclSystemError;
  for (auto& [stream, exchange] : std::exchange(comm->noted, {}))
    Streams::all().enqueue(stream, [exchange, channels = comm->channels, aborted = comm->aborted] {
      return *aborted || exchange->advance(*channels);
    });
  return ncclSuccess;
}

ncclResult_t ncclGroupStart() {
  ++group().depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  Group& mine = group();
  if (--mine.depth > 0 || !mine.exchange) return ncclSuccess;
  mine.comm->noted.emplace_back(mine.stream, std::exchange(mine.exchange, nullptr));
  return state_of(mine.comm);
}

ncclResult_t ncclSend(const void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  auto* bytes = static_cast<std::byte*>(const_cast<void*>(data));
  noted(comm, stream)->transfers.push_back({true, peer, bytes, count * size_of(type)});
  return state_of(comm);
}
ncclResult_t ncclRecv(void* data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  noted(comm, stream)->transfers.push_back({false, peer, static_cast<std::byte*>(data), count * size_of(type)});
  return state_of(comm);
}
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
  if (from != to) return ncclInvalidUsage;
  if (comm->channels->rank() != root) return ncclRecv(to, count, type, root, comm, stream);
  const auto exchange = noted(comm, stream);
  for (int r = 0; r < comm->channels->ranks(); ++r)
    if (r != root) exchange->transfers.push_back({true, r, static_cast<std::byte*>(to), count * size_of(type)});
  return state_of(comm);
}
ncclResult_t ncclReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t comm,
                        cudaStream_t stream) {
  return reduce(from, to, count, type, op, root, root, comm, stream);
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  return reduce(from, to, count, type, op, 0, comm->channels->ranks() - 1, comm, stream);
}
