#pragma once

#include <string>
#include <vector>

#include "io/container.h"
#include "io/gguf.h"

namespace mpiquant {

// All key-values of a GGUF file of architecture "llama": general.*, llama.* and tokenizer.*. `type` is the file's nominal type.
// Source: llama.cpp, conversion/base.py and conversion/llama.py.
std::vector<GgufKeyValue> gguf_metadata(const OutputSpec& output, const RunFacts& facts, GgmlType type);

// Number of parameters in words: "5.8M", "135M", "8.0B".
std::string size_label(double parameters);

// What llama.cpp does otherwise than the model: a line each.
std::vector<std::string> gguf_notes(const ModelSpec& model);

}  // namespace mpiquant
