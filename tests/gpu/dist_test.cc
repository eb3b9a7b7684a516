// Device memory between ranks, through the host's memory and by NCCL, under mpirun. Ranks share the GPU; NCCL takes several ranks
// of one GPU from 2.30 on, with NCCL_MULTI_RANK_GPU_ENABLE=1, and is left out otherwise.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels/cuda_backend.h"
#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "src/comm/mpi_comm.h"
#include "src/comm/nccl_comm.h"

namespace mpiquant {
namespace {

CommOptions limits() {
  CommOptions options;
  options.timeout = std::chrono::seconds(60);
  return options;
}

class Ranks {
 public:
  static MpiSession& session() {
    static MpiSession session;
    return session;
  }
};

template <typename T>
class DeviceValues {
 public:
  explicit DeviceValues(const std::vector<T>& values) : count_(values.size()) {
    EXPECT_EQ(cudaMalloc(&data_, count_ * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
  }
  ~DeviceValues() { cudaFree(data_); }
  DeviceValues(const DeviceValues&) = delete;
  Buffer<T> buffer() const { return {{static_cast<T*>(data_), count_}, MemSpace::kDevice}; }
  std::vector<T> values() const {
    std::vector<T> out(count_);
    EXPECT_EQ(cudaMemcpy(out.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return out;
  }

 private:
  void* data_ = nullptr;
  std::size_t count_;
};

enum class Way { kStaged, kNccl };

class DeviceGroup : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    auto world = Ranks::session().world(limits());
    const char* shared = std::getenv("NCCL_MULTI_RANK_GPU_ENABLE");
    if (GetParam() == Way::kNccl && (nccl_version() == "none" || (world->size() > 1 && (shared == nullptr || *shared != '1'))))
      GTEST_SKIP() << "NCCL " << nccl_version() << " does not take " << world->size() << " ranks on one GPU here";
    group_ = GetParam() == Way::kNccl ? make_nccl_comm(std::move(world), 0) : make_cuda_staged_comm(std::move(world), 0);
  }
  void TearDown() override {
    if (group_) group_->barrier();  // a rank that leaves the group while another still waits in it is a lost one
  }
  std::unique_ptr<Communicator> group_;
};

TEST_P(DeviceGroup, SumsIntegersExactly) {
  Communicator& comm = *group_;
  const std::int64_t n = comm.size(), mine = comm.rank() + 1;
  std::vector<std::int64_t> values(100'000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = mine * ((std::int64_t{1} << 50) + static_cast<std::int64_t>(i));
  for (int root = 0; root < comm.size(); ++root) {
    const DeviceValues<std::int64_t> sum(values);
    comm.start_reduce_sum(sum.buffer(), root).wait();
    const std::int64_t factor = comm.rank() == root ? n * (n + 1) / 2 : mine;
    const std::vector<std::int64_t> got = sum.values();
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], factor * ((std::int64_t{1} << 50) + static_cast<std::int64_t>(i)));
  }
  const DeviceValues<std::int64_t> all(values);
  comm.start_all_reduce_sum(all.buffer()).wait();
  EXPECT_EQ(all.values().front(), n * (n + 1) / 2 << 50);
}

TEST_P(DeviceGroup, MovesBytes) {
  Communicator& comm = *group_;
  const auto byte = [](int from, int to) { return static_cast<std::byte>(from * 16 + to); };
  const DeviceValues<std::byte> data(std::vector<std::byte>(1000, byte(comm.rank(), 0)));
  comm.broadcast(data.buffer(), comm.size() - 1);
  EXPECT_EQ(data.values(), std::vector<std::byte>(1000, byte(comm.size() - 1, 0)));

  const std::vector<std::size_t> counts(static_cast<std::size_t>(comm.size()), 300);
  std::vector<std::byte> give, get, all;
  for (int r = 0; r < comm.size(); ++r) {
    give.insert(give.end(), 300, byte(comm.rank(), r));
    get.insert(get.end(), 300, byte(r, comm.rank()));
    all.insert(all.end(), 300, byte(r, 0));
  }
  const DeviceValues<std::byte> given(give), got(std::vector<std::byte>(get.size())),
      gathered(std::vector<std::byte>(all.size())), mine(std::vector<std::byte>(300, byte(comm.rank(), 0)));
  comm.all_to_all_v(given.buffer(), counts, got.buffer(), counts);
  EXPECT_EQ(got.values(), get);
  comm.all_gather_v(mine.buffer(), counts, gathered.buffer());
  EXPECT_EQ(gathered.values(), all);
  std::vector<std::int64_t> host = {1};
  comm.all_reduce_sum(std::span(host));
  EXPECT_EQ(host.front(), comm.size());
}

INSTANTIATE_TEST_SUITE_P(Ways, DeviceGroup, testing::Values(Way::kStaged, Way::kNccl),
                         [](const auto& test) { return test.param == Way::kNccl ? "Nccl" : "Staged"; });

}  // namespace
}  // namespace mpiquant

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;  // SKIP_RETURN_CODE
  testing::InitGoogleTest(&argc, argv);
  mpiquant::Ranks::session();
  const mpiquant::CudaMachine machine = mpiquant::cuda_machine();
  if (machine.devices.empty()) {
    std::fprintf(stderr, "SKIPPED, nothing was tested: %s\n", machine.problem.c_str());
    return kSkipped;
  }
  return RUN_ALL_TESTS();
}
