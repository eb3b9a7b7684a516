#pragma once

#include <string>
#include <vector>

#include "io/container.h"

namespace mpiquant {

// Whether zero points are stored less one (checkpoint_format "gptq"): all linears are symmetric. Else "gptq_v2".
bool gptq_is_v1(const OutputSpec& output);

// quantize_config.json, also config.json's quantization_config (FORMATS: GPTQ, Config). Linears that differ from the most
// common codec are named in `dynamic`; suffixes that are dense in every layer are left out of modules_in_block_to_quantize.
Json gptq_config(const OutputSpec& output, const RunFacts& facts);

// Which readers cannot hold this mixture of linears.
std::vector<std::string> gptq_notes(const OutputSpec& output, const ModelSpec& model);

}  // namespace mpiquant
