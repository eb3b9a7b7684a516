#pragma once

#include <memory>

#include "src/comm/communicator.h"

namespace mpiquant {

// The ranks of a job as stages × replicas. With R = size / stages, rank r is replica r % R of stage r / R: the replicas of a
// stage are neighbours, as launchers place neighbours on one node.
struct GridShape {
  int stages = 1;
  int replicas = 1;

  int stage_of(int rank) const { return rank / replicas; }
  int replica_of(int rank) const { return rank % replicas; }
  int rank_of(int stage, int replica) const { return stage * replicas + replica; }
};

// The shape for `ranks` ranks. Throws a usage error, naming the numbers of stages that are possible, unless stages divides ranks.
GridShape grid_shape(int ranks, int stages);

struct Grid {
  Communicator* world = nullptr;  // not owned; outlives the grid
  GridShape shape;
  std::unique_ptr<Communicator> group;  // the replicas of this rank's stage; rank there = replica
  std::unique_ptr<Communicator> pipe;   // the same replica on all stages; rank there = stage

  int stage() const { return pipe->rank(); }
  int replica() const { return group->rank(); }
};

// Collective over world. Throws as grid_shape does.
Grid make_grid(Communicator& world, int stages);

}  // namespace mpiquant
