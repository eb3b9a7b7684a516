#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "src/base/json.h"
#include "src/base/model_spec.h"

namespace mpiquant {

// A parsed config.json, in the old and the Transformers 5 form, as a model. dtype_if_unstated serves configs without dtype.
// Input errors name the key and its value, or the missing key.
ModelSpec parse_config(const Json& config, std::optional<DType> dtype_if_unstated = std::nullopt);

// What is wrong with the model's tensors: missing, of another shape than the config calls for, or not float; a line each.
std::vector<std::string> tensor_problems(const ModelSpec& spec, const TensorSource& source);

// Checks that each of the model's tensors exists with its shape and a float type; returns the names of tensors that the model
// does not use (rotary frequencies, which old exporters stored, apart).
std::vector<std::string> check_tensors(const ModelSpec& spec, const TensorSource& source);

// directory/config.json and the tensors: both of the above, the embedding's dtype standing in for an unstated one. Tensors that
// are not used are logged as a warning.
ModelSpec read_model(const std::string& directory, const TensorSource& source);

}  // namespace mpiquant
