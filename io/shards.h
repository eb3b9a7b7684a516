#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/container.h"
#include "src/base/tensor.h"

namespace mpiquant {

// A tensor of a safetensors repository that has no place in a file yet.
struct StoredTensor {
  std::string name;  // as stored: "model.layers.0.mlp.down_proj.qweight"
  DType dtype;
  Shape shape;
  std::string source;  // as in TensorPlan
  std::string piece;   // as in TensorPlan
};

// The float tensors of an output, each under its name with its source's dtype.
std::vector<StoredTensor> dense_tensors(const OutputSpec& output);

// Files of a repository: model.safetensors if all tensors fit in max_shard_bytes, else model-00001-of-000NN.safetensors …, filled
// in the order of the model, so that they are whole from the front while layers are done. The tensors of a module (the name up to
// its last dot) stay in one file; a module that is larger than max_shard_bytes has a file of its own.
std::vector<FilePlan> plan_shards(std::vector<StoredTensor> tensors, const ModelSpec& model, std::int64_t max_shard_bytes);

// model.safetensors.index.json, or nothing unless there are several files.
std::optional<TextFile> shard_index(const std::vector<FilePlan>& files);

}  // namespace mpiquant
