#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "src/base/json.h"
#include "src/base/model_spec.h"
#include "src/quant/hessian.h"
#include "src/run/identity.h"

namespace mpiquant {

// The canonical Hessians of a run, kept to make other outputs without another forward pass:
//   index.json                 what they were made from, and the calibration's record for the outputs
//   layer-00005-block-2.h5     "packed" f32 [cols * (cols + 1) / 2] upper triangle, "tokens" i64 [1]
// The head is the layer after the last.
class HessianStore {
 public:
  explicit HessianStore(std::string folder) : folder_(std::move(folder)) {}

  struct Index {
    Identity inputs;                      // model, calibration, kernel set: always of the same values
    std::string weight_files;             // hash of their stamps: others are not refused, but told
    bool from_original = true;            // activations of the original weights
    Identity upstream;                    // else the choices that made the weights before each layer
    std::vector<std::string> transforms;  // of the model whose activations these are
    std::int64_t tokens = 0;              // of the calibration
    Json calibration;                     // its record
  };

  const std::string& folder() const { return folder_; }
  // Begins the folder, or finds it as an interrupted run of the same index left it. Throws (usage error) when it holds others.
  void begin(const Index& index) const;
  // Input error when there is none or it is damaged.
  Index index() const;
  // Writes and closes; publish() of what is returned makes it durable.
  Hdf5Writer save(std::int64_t layer, std::size_t block, const Hessian& hessian) const;
  bool has(std::int64_t layer, std::size_t block) const;
  // Of those that are there.
  std::int64_t bytes() const;
  // Input error when it is missing or of other columns.
  Hessian load(std::int64_t layer, std::size_t block, std::int64_t cols) const;

 private:
  std::string path(std::int64_t layer, std::size_t block) const;

  std::string folder_;
};

// Throws (usage error), naming the field, unless the Hessians of the index serve a run with these inputs and choices.
void check_usable(const HessianStore::Index& index, const Identity& inputs, const Identity& upstream);

// Bytes that the Hessians of a model take.
std::int64_t hessian_store_bytes(const ModelSpec& model, bool head);

}  // namespace mpiquant
