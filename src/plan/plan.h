#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/container.h"
#include "src/base/json.h"
#include "src/base/model_spec.h"
#include "src/plan/memory.h"
#include "src/plan/recipe.h"

namespace mpiquant {

// The machine a plan is made for, as plain numbers.
struct Topology {
  int ranks = 1;
  int threads = 1;       // per rank
  bool launched = true;  // by mpirun or srun; else one rank, without MPI
};

// A fixed list of consecutive samples; the smallest piece of forward work.
struct UnitPlan {
  std::int64_t first_sample;
  std::int64_t samples;
  std::int64_t tokens;
  int replica;  // that runs it
};

// Rows of a linear; the smallest piece of quantization work.
struct PartPlan {
  int linear;  // index in the block
  std::int64_t row_begin;
  std::int64_t rows;
  int replica;
};

struct BlockPlan {
  int hessian_owner;            // replica
  std::vector<PartPlan> parts;  // by linear, then row
  std::vector<int> writers;     // replica that packs and writes each linear
};

struct LayerPlan {
  int stage;
  std::vector<BlockPlan> blocks;
};

// A tensor of an output's file.
struct SlabTarget {
  int output;
  int file;
  int tensor;
};

inline constexpr std::int64_t kNoLayer = -1;

// Rows of a stored tensor that outputs carry over as floats: read once for all of them.
struct SlabPlan {
  std::string tensor;  // as stored; empty: a container makes it itself
  std::vector<SlabTarget> targets;
  std::int64_t row_begin;
  std::int64_t row_end;
  std::int64_t cols;
  std::int64_t layer;  // written while it is at work, by a rank of its stage; kNoLayer: before the layers
  bool held;           // read as a whole before any of it is written
  bool with_part;      // a part that is converted by rows for other outputs: its rank writes these from the rows it holds
  int rank;            // of the job
};

// What one rank needs and moves.
struct RankCost {
  std::int64_t tokens = 0;  // forwarded, each once a layer
  std::int64_t rows_swept = 0;
  std::int64_t bytes_read = 0;  // of linears and slabs
  std::int64_t bytes_written = 0;
  std::int64_t hessian_bytes = 0;  // handed to the reduction of Hessians
  std::int64_t memory = 0;         // peak resident bytes
  MemoryUse memory_use;            // the same by what it is for
  // Peak bytes of buffers where matrix work is done on a device: with the states of all units, or with those of units at work.
  std::int64_t device_memory = 0;
  std::int64_t device_memory_of_work = 0;
};

// Who does what. A pure function of recipe, model, samples and topology; the same on every rank.
struct Plan {
  int stages = 1;
  int replicas = 1;
  std::vector<UnitPlan> units;
  std::vector<LayerPlan> layers;
  std::optional<LayerPlan> head;             // when the head is quantized; on the last stage
  std::vector<std::vector<FilePlan>> files;  // by output
  std::vector<SlabPlan> slabs;
  std::vector<RankCost> costs;  // by rank

  const TensorPlan& tensor_of(const SlabTarget& target) const;
  std::vector<std::int64_t> units_of(int replica) const;
  // Layers [first, second) of a stage.
  std::pair<std::int64_t, std::int64_t> layers_of(int stage) const;
};

struct PlanInput {
  const ModelSpec& model;  // as it is stored
  const Recipe& recipe;
  const std::vector<OutputSpec>& outputs;
  const std::vector<RunFacts>& facts;        // by output
  std::vector<std::int64_t> sample_lengths;  // tokens of each calibration sample; empty for methods without calibration
  Topology topology;
};

// Samples of a calibration unit: what the recipe says, else as many as leave 64 units.
std::int64_t unit_samples(const Recipe& recipe, std::int64_t samples);

// Throws (usage error) when ranks and stages do not fit each other or the model.
Plan make_plan(const PlanInput& input);

// Canonical form; its hash is compared over the ranks.
Json to_json(const Plan& plan);

// Largest entry over the mean of a cost, 1 when all are zero.
double imbalance(const std::vector<std::int64_t>& values);

}  // namespace mpiquant
