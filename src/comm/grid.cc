#include "src/comm/grid.h"

#include <string>

#include "src/base/error.h"

namespace mpiquant {

GridShape grid_shape(int ranks, int stages) {
  expect(ranks >= 1, "a grid of {} ranks", ranks);
  if (stages < 1 || ranks % stages != 0) {
    std::string valid;
    for (int n = 1; n <= ranks; ++n)
      if (ranks % n == 0) valid += fmt::format("{}{}", valid.empty() ? "" : ", ", n);
    fail(ExitCode::kUsage,
         "{} ranks cannot be shared out evenly over {} stages (each stage needs as many replicas) use one of: {}", ranks, stages,
         valid);
  }
  return {stages, ranks / stages};
}

Grid make_grid(Communicator& world, int stages) {
  Grid grid;
  grid.world = &world;
  grid.shape = grid_shape(world.size(), stages);
  const int stage = grid.shape.stage_of(world.rank());
  const int replica = grid.shape.replica_of(world.rank());
  grid.group = world.split(stage, replica);
  grid.pipe = world.split(replica, stage);
  return grid;
}

}  // namespace mpiquant
