#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "src/base/json.h"
#include "src/plan/shape.h"

namespace mpiquant {

// Resident bytes of a rank at its peak, by what they are for.
struct MemoryUse {
  std::int64_t program = 0;  // code and libraries, stacks and packing areas of threads
  std::int64_t weights = 0;  // of the layer at work, or of all layers of a stage that stay resident
  std::int64_t hidden = 0;   // states between layers, and what a unit's pass needs beside them
  std::int64_t inputs = 0;   // of the block at work, kept for its Hessian
  std::int64_t hessian = 0;  // integer sum, packed matrix
  std::int64_t factor = 0;   // the matrix that is factored, and its factor
  std::int64_t buffers = 0;  // rows being read or converted, codes on their way

  std::int64_t total() const { return program + weights + hidden + inputs + hessian + factor + buffers; }
};
Json to_json(const MemoryUse& use);

struct MemoryInput {
  const PlanShape& shape;
  std::size_t first = 0, last = 0;  // layers of the stage
  std::int64_t tokens = 0;          // of the rank's units
  std::int64_t all_tokens = 0;      // of all units; 0: no calibration
  std::int64_t unit_tokens = 0;     // of the largest unit
  int replicas = 1;
  int threads = 1;
  bool launched = true;         // MPI is there
  bool true_sequential = true;  // else the blocks of a layer are converted together
  bool corrects = false;        // GPTAQ: the original activations are kept beside the quantized ones
  int forms = 1;                // of the model that are quantized from one pass
  bool resident = false;        // all layers of the stage are held
  bool head = false;            // quantized, on this stage
  bool accelerated = false;     // weights are held in 2 bytes
  bool kept_hessians = false;   // no calibration, but Hessians of another run
  bool rounds = false;          // operands of products are rounded to 2 bytes when they are needed
  bool writes_gguf = false;     // with the tokenizer in it
  bool by_rows = false;         // all linears of the stage are rounded a part at a time, into GGUF files
  std::int64_t slab_bytes = 0;  // of the largest slab it writes
  // Whether the rank owns the Hessian of a layer's block (of the head: layer = number of layers); empty: it may own any.
  std::function<bool(std::size_t layer, std::size_t block)> owns = {};
};

// The moment of the run when a rank holds most: the largest of entering and, over all blocks, of loading, forward pass, Hessian,
// factor, conversion.
MemoryUse peak_memory(const MemoryInput& input);

}  // namespace mpiquant
