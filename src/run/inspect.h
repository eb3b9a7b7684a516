#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "src/base/json.h"

namespace mpiquant {

// A tensor as it is filed.
struct TensorFact {
  std::string name;
  std::string type;  // of the header: "BF16", "Q4_0"
  Shape shape;       // row-major
  std::int64_t elements = 0;
  std::int64_t bytes = 0;
};

// A weight matrix of fewer than 16 bits, with all its pieces (scales, zero points …).
struct QuantizedFact {
  std::string name;
  std::int64_t weights = 0;
  std::int64_t bytes = 0;           // of all pieces
  std::vector<std::string> pieces;  // names of its tensors, bias apart
};

struct FileFact {
  std::string name;
  std::int64_t bytes = 0;
};

// What a repository or a GGUF file holds, from its headers and configuration alone; also of models that cannot be run here.
struct Inspection {
  std::string path;
  std::string form;  // "safetensors", "gguf", or the quant_method of config.json: "gptq"
  std::vector<FileFact> files;
  std::vector<TensorFact> tensors;  // by name
  std::vector<QuantizedFact> quantized;
  std::int64_t weights = 0;  // of the model, a packed one counting as what it stands for
  std::int64_t bytes = 0;    // of all tensors
  Json model;                // sizes that config.json or the GGUF metadata state
  Json quantization;         // quantization_config, null if there is none
  Json metadata;             // of the files' headers
  Json tokenizer;            // facts, or "problem" where it is not read here
  Json about;                // mpiquant.json: recipe and per-tensor facts, null if there is none

  double bits_per_weight() const;
  double quantized_bits_per_weight() const;  // 0 if nothing is quantized
};

// PATH: a directory in Hugging Face layout, one .safetensors or .gguf file, a directory with one GGUF file, or an id of the local
// Hugging Face cache. Damaged or hostile files are input errors.
Inspection inspect(const std::string& path);

// The low-precision matrices among the tensors of a repository in GPTQ, AWQ, compressed-tensors, bitsandbytes, FP8, torchao or
// MXFP4 form. Packed words whose weights cannot be counted from headers are left out.
std::vector<QuantizedFact> quantized_tensors(const TensorSource& source, const Json& quantization);

Json to_json(const Inspection& found, bool with_tensors);
// Tables for a terminal, with the errors of mpiquant.json drawn by layer.
std::string to_text(const Inspection& found, bool with_tensors);

}  // namespace mpiquant
