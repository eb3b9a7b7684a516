#include "src/run/hessian.h"

#include <gtest/gtest.h>

#include <limits>

#include "src/base/error.h"
#include "src/comm/local_comm.h"

namespace mpiquant {
namespace {

// One unit among good ones whose activations overflowed.
TEST(BeginHessian, AUnitThatIsNoNumberIsFoundAmongOthers) {
  const std::unique_ptr<Communicator> world = make_local_comm();
  Grid grid = make_grid(*world, 1);
  const auto backend = make_cpu_backend(1);
  Job job{*world, grid, *backend};
  RankReport report;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<std::vector<float>> units(3, std::vector<float>(8, 1.0F));
    const InputVisits inputs = [&](const auto& body) {
      std::vector<ConstMatrix> all;
      for (const std::vector<float>& unit : units) all.push_back({unit.data(), 2, 4, 4, MemSpace::kHost});
      body(all);
    };
    EXPECT_NO_THROW(begin_hessian(job, inputs, 4, 3, 0, HessianSums::kInt64, report));
    units[1][5] = bad;
    try {
      begin_hessian(job, inputs, 4, 3, 0, HessianSums::kInt64, report);
      ADD_FAILURE() << "no error for " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kGate);
    }
  }
}

}  // namespace
}  // namespace mpiquant
