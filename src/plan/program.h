#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "src/plan/amount.h"
#include "src/plan/plan.h"
#include "src/plan/shape.h"

namespace mpiquant {

enum class Phase : std::uint8_t {
  kSlabs,      // tensors carried over as floats
  kRead,       // weights
  kShare,      // of read rows among the replicas
  kForward,    // embeddings, blocks
  kExchange,   // tokens to the owners of their experts and back
  kHessian,    // of the replica's units
  kReduce,     // to the owner
  kFactor,     // by the owner
  kBroadcast,  // of the factor
  kSweep,      // or round to nearest
  kParts,      // to writers or everybody
  kWrite,      // pack and write
  kHidden,     // states to the next stage
  kPublish,    // sums
};
inline constexpr std::size_t kPhases = 14;
std::string_view to_string(Phase phase);

enum class Transfer : std::uint8_t { kNone, kAllGather, kReduce, kBroadcast, kGather, kAllToAll, kNextStage };

enum class Spread : std::uint8_t {
  kItems,      // each item on one thread
  kDivisible,  // items are cut so small that all threads work to the end
  kSerial,     // one thread
};

// One step of a group of ranks (the replicas of a stage, or all ranks): local work, on whose end all agree, or a transfer.
struct Step {
  Phase phase;
  Amount each;                      // of an item
  std::vector<std::int32_t> items;  // by rank of the group; one entry: the same for all; none: no local work
  Spread spread = Spread::kItems;
  Transfer transfer = Transfer::kNone;
  double bytes = 0;  // the payload: whole for gathers, reductions and broadcasts; of one rank for all-to-all and the next stage
  int root = 0;
  std::int32_t parts = 1;  // of an item, where it stands for several that run together

  std::int32_t items_of(std::size_t rank) const { return items.empty() ? 0 : items.size() == 1 ? items[0] : items[rank]; }
};

// Units that pass through all layers of a stage and on to the next one before anything is quantized.
struct HiddenStream {
  Amount each;                      // a unit through the stage, on one thread
  std::vector<std::int32_t> units;  // by replica
  double bytes = 0;                 // of a unit's hidden states
};

struct StageProgram {
  std::vector<Step> before;
  std::optional<HiddenStream> stream;
  std::vector<std::vector<Step>> layers;
  std::vector<Step> after;
};

// What all ranks do, in order: `before`, then the stages (one after the other, or after their streams side by side), then
// `after`.
struct Program {
  int stages = 1;
  int replicas = 1;
  int threads = 1;
  std::vector<Step> before, after;
  std::vector<StageProgram> stage;
  std::vector<std::int32_t> units;  // of calibration, by replica

  bool streams() const { return stage.front().stream.has_value(); }
};

// One of the codecs that a linear is converted to.
struct StoredVariant {
  bool propagated = true;      // its decoded rows are the weights from here on, where the run propagates quantized ones
  bool search = false;         // groups search their range
  double code_bytes = 1.0625;  // of a weight with its parameters and loss, between ranks
};

// What becomes of one copy of a linear: distinct codecs, and its bytes in all output files (quantized ones alone).
struct Stored {
  std::vector<StoredVariant> variants;
  double bytes = 0;
};

struct ProgramInput {
  const PlanShape& shape;
  std::int64_t samples = 0;  // of calibration; 0: a method without
  std::int64_t length = 0;   // tokens of each
  std::int64_t unit_samples = 1;
  std::vector<std::size_t> bounds = {};  // first layer of each stage, and the number of layers
  int replicas = 1;
  int threads = 1;
  bool accelerated = false;  // units and parts of a rank run together; weights travel in 2 bytes
  bool true_sequential = true;
  bool propagates = true;  // quantized weights
  bool sweeps = true;      // else round to nearest
  bool corrects = false;   // GPTAQ: the original activations go beside the quantized ones
  bool head = false;
  int forms = 1;           // of the model that are quantized from one pass
  double dense_bytes = 0;  // carried over as floats, in all files
  double files = 1;
  std::function<Stored(std::size_t layer, std::size_t block, std::size_t linear)> stored = {};  // layer == layers: the head
  const Plan* plan = nullptr;  // who does what; without it work is shared out as evenly as its pieces allow

  int stages() const { return static_cast<int>(bounds.size()) - 1; }
};

Program make_program(const ProgramInput& input);

}  // namespace mpiquant
