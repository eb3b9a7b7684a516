#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "src/base/model_spec.h"

namespace mpiquant {

class RotatedSource;

// A model to read: a directory, an id of the local Hugging Face cache, or an output of this program.
struct ModelInput {
  std::string directory;
  std::string name;  // "org/name" or the directory's last component
  ModelSpec spec;
  std::unique_ptr<TensorSource> source;
  std::vector<std::string> in_blocks;      // tensors that a GGUF file holds in blocks
  std::vector<std::string> transforms;     // that made it of `original`
  std::unique_ptr<ModelInput> original;    // null where none did
  const RotatedSource* rotated = nullptr;  // of a rotated model: its source

  // As it lies in files.
  const ModelInput& stored() const { return original ? *original : *this; }
  // As outputs with these transforms see it.
  const ModelInput& form(const std::vector<std::string>& of_output) const { return of_output.empty() ? stored() : *this; }

  std::map<std::string, DType> dtypes() const;  // of all float tensors, by name, as outputs carry them
};

// A model with float weights, to be quantized. Throws (input error) when it is not found, damaged, quantized already, or of an
// unsupported architecture.
ModelInput open_model(const std::string& argument);

// A model in any form that is read here, quantized ones and GGUF files included, with decoded weights.
ModelInput open_readable_model(const std::string& argument);

// From now on the model's spec has the linears that are stored in blocks multiply rounded activations, as llama.cpp does on CPUs.
// Throws (usage error) when the model is no GGUF file with such tensors.
void round_activations_of_blocks(ModelInput& model);

}  // namespace mpiquant
