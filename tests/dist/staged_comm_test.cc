#include "src/comm/staged_comm.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <vector>

#include "src/base/error.h"
#include "tests/dist/ranks.h"

namespace mpiquant {
namespace {

using Bytes = std::vector<std::byte>;

// A device whose memory the host cannot read: addresses that hold the values inverted.
class FakeDevice {
 public:
  std::span<std::byte> allocate(std::size_t bytes) {
    memory_.emplace_back(bytes);
    return memory_.back();
  }
  DeviceAccess access() {
    return {
        [this](const void* data) { return holds(data); },
        [](std::size_t bytes) { return std::shared_ptr<std::byte>(new std::byte[bytes], std::default_delete<std::byte[]>()); },
        [](std::span<const std::byte> device, std::byte* host) {
          for (std::size_t i = 0; i < device.size(); ++i) host[i] = ~device[i];
        },
        [](const std::byte* host, std::span<std::byte> device) {
          for (std::size_t i = 0; i < device.size(); ++i) device[i] = ~host[i];
        }};
  }
  template <typename T>
  Buffer<T> put(const std::vector<T>& values) {
    const std::span<std::byte> place = allocate(values.size() * sizeof(T));
    const auto bytes = std::as_bytes(std::span(values));
    access().to_device(bytes.data(), place);
    return {{reinterpret_cast<T*>(place.data()), values.size()}, MemSpace::kDevice};
  }
  template <typename T>
  std::vector<T> get(Buffer<T> buffer) {
    std::vector<T> values(buffer.data.size());
    access().to_host(std::as_bytes(buffer.data), reinterpret_cast<std::byte*>(values.data()));
    return values;
  }

 private:
  bool holds(const void* data) const {
    for (const Bytes& memory : memory_)
      if (data >= memory.data() && data < memory.data() + memory.size()) return true;
    return false;
  }
  std::vector<Bytes> memory_;
};

Bytes payload(std::size_t count, int seed) {
  Bytes out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>(i * 7 + static_cast<std::size_t>(seed) * 31);
  return out;
}

void on_devices(const std::function<void(Communicator&, FakeDevice&)>& body) {
  on_ranks([&](Communicator& comm) {
    FakeDevice device;
    const auto staged = make_staged_comm(comm.split(0, comm.rank()), device.access());
    body(*staged, device);
  });
}

TEST(StagedComm, ReducesDeviceMemory) {
  on_devices([](Communicator& comm, FakeDevice& device) {
    const std::int64_t n = comm.size(), mine = comm.rank() + 1;
    const auto sum = device.put<std::int64_t>({mine, 10 * mine, std::int64_t{1} << 50});
    comm.start_reduce_sum(sum, comm.size() - 1).wait();
    const std::int64_t total = n * (n + 1) / 2;
    if (comm.rank() == comm.size() - 1) {
      EXPECT_EQ(device.get(sum), (std::vector<std::int64_t>{total, 10 * total, n << 50}));
    } else {
      EXPECT_EQ(device.get(sum), (std::vector<std::int64_t>{mine, 10 * mine, std::int64_t{1} << 50}));
    }
    const auto most = device.put<float>({static_cast<float>(mine), -1.0F});
    comm.start_all_reduce_max(most).wait();
    EXPECT_EQ(device.get(most), (std::vector<float>{static_cast<float>(n), -1.0F}));
    std::vector<std::int64_t> host = {mine};
    comm.all_reduce_sum(std::span(host));
    EXPECT_EQ(host.front(), total);
  });
}

TEST(StagedComm, MovesDeviceMemory) {
  on_devices([](Communicator& comm, FakeDevice& device) {
    const int last = comm.size() - 1;
    const auto data = device.put(comm.rank() == last ? payload(100, 5) : Bytes(100));
    comm.broadcast(data, last);
    EXPECT_EQ(device.get(data), payload(100, 5));

    std::vector<std::size_t> counts, to_all(static_cast<std::size_t>(comm.size()), 3);
    Bytes wanted, exchanged, given;
    for (int r = 0; r < comm.size(); ++r) {
      counts.push_back(static_cast<std::size_t>(r % 3));
      for (const std::byte b : payload(counts.back(), r)) wanted.push_back(b);
      for (const std::byte b : payload(3, 16 * comm.rank() + r)) given.push_back(b);
      for (const std::byte b : payload(3, 16 * r + comm.rank())) exchanged.push_back(b);
    }
    const auto mine = device.put(payload(counts[static_cast<std::size_t>(comm.rank())], comm.rank()));
    const auto all = device.put(Bytes(wanted.size())), at_root = device.put(Bytes(wanted.size()));
    comm.all_gather_v(mine, counts, all);
    EXPECT_EQ(device.get(all), wanted);
    comm.gather_v(mine, counts, at_root, 0);
    EXPECT_EQ(device.get(at_root), comm.rank() == 0 ? wanted : Bytes(wanted.size()));
    const auto give = device.put(given), get = device.put(Bytes(exchanged.size()));
    comm.all_to_all_v(give, to_all, get, to_all);
    EXPECT_EQ(device.get(get), exchanged);

    const auto received = device.put(Bytes(9));
    Pending receiving = comm.start_recv(received, (comm.rank() + last) % comm.size(), 2);
    comm.send(device.put(payload(9, comm.rank())), (comm.rank() + 1) % comm.size(), 2);
    receiving.wait();
    EXPECT_EQ(device.get(received), payload(9, (comm.rank() + last) % comm.size()));
  });
}

TEST(StagedComm, SplitsIntoGroupsThatMoveDeviceMemory) {
  on_devices([](Communicator& comm, FakeDevice& device) {
    const auto half = comm.split(comm.rank() % 2, comm.rank());
    const auto ones = device.put<std::int64_t>({1});
    half->start_all_reduce_sum(ones).wait();
    EXPECT_EQ(device.get(ones).front(), half->size());
  });
}

}  // namespace
}  // namespace mpiquant
