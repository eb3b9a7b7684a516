#pragma once

#include <string>
#include <vector>

#include "io/container.h"

namespace mpiquant {

// config.json's quantization_config: a config group for each codec with its targets, and the dense linears as `ignore`.
Json compressed_tensors_config(const OutputSpec& output, const RunFacts& facts);

// Which readers cannot hold this output as it is.
// Linears with zero points; linears of several codecs.
bool is_asymmetric(const OutputSpec& output);
bool is_mixed(const OutputSpec& output);
std::vector<std::string> compressed_tensors_notes(const OutputSpec& output, const ModelSpec& model);

}  // namespace mpiquant
