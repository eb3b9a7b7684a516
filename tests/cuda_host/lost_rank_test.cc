// What becomes of a group of GPUs when a rank is lost or does not come, under mpirun.
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

#include "kernels/cuda_backend.h"
#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "src/comm/mpi_comm.h"
#include "src/comm/nccl_comm.h"

namespace mpiquant {
namespace {

using Clock = std::chrono::steady_clock;

MpiSession& session() {
  static MpiSession session;
  return session;
}

std::unique_ptr<Communicator> group(std::chrono::seconds timeout) {
  CommOptions options;
  options.timeout = timeout;
  return make_nccl_comm(session().world(options), 0);
}

// How an all-reduce of device memory ends, and after how long.
struct Ending {
  ExitCode code = ExitCode::kDone;
  std::string text;
  double seconds = 0;
};
Ending all_reduce(Communicator& comm) {
  const auto start = Clock::now();
  Ending out;
  try {
    CudaOptions options;
    options.memory = std::size_t{64} << 20;
    const auto gpu = make_cuda_backend(options);
    const BackendBuffer buffer = gpu->hessian_zeros(4);
    comm.start_all_reduce_sum(Buffer<std::int64_t>{{reinterpret_cast<std::int64_t*>(buffer.data()), 10}, MemSpace::kDevice})
        .wait();
  } catch (const Error& error) {
    out.code = error.code();
    out.text = error.what();
  }
  out.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return out;
}

TEST(LostRank, IsAnErrorOfTheOthersAtOnce) {
  const auto world = session().world({});
  auto comm = group(std::chrono::seconds(60));
  world->barrier();  // all are in the group before one leaves
  if (world->rank() == world->size() - 1) {
    comm.reset();
  } else {
    const Ending ending = all_reduce(*comm);
    EXPECT_EQ(ending.code, ExitCode::kEnvironment);
    EXPECT_NE(ending.text.find("remote process exited"), std::string::npos) << ending.text;
    EXPECT_LT(ending.seconds, 30);
    EXPECT_EQ(all_reduce(*comm).code, ExitCode::kEnvironment) << "a broken group takes nothing more";
  }
  world->barrier();
}

TEST(LateRank, IsAnErrorAtTheDeadline) {
  const auto world = session().world({});
  const auto comm = group(std::chrono::seconds(2));
  if (world->rank() != world->size() - 1) {
    const Ending ending = all_reduce(*comm);
    EXPECT_EQ(ending.code, ExitCode::kEnvironment);
    EXPECT_GE(ending.seconds, 2);
    EXPECT_LT(ending.seconds, 30);
  }
  world->barrier();
}

TEST(WholeGroup, Adds) {
  const auto comm = group(std::chrono::seconds(60));
  const Ending ending = all_reduce(*comm);
  EXPECT_EQ(ending.code, ExitCode::kDone) << ending.text;
  session().world({})->barrier();
}

}  // namespace
}  // namespace mpiquant

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  mpiquant::session();
  return RUN_ALL_TESTS();
}
