#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/tensor_source.h"
#include "src/base/json.h"

namespace mpiquant {

// The weights and the configuration of a model in any form that is read here, as a plain model: a directory in Hugging Face
// layout (plain, GPTQ, or compressed-tensors pack-quantized), a GGUF file, or a directory with one GGUF file and no safetensors.
// Quantized tensors appear as fp32 under their original names with their readers' values.
struct PlainModel {
  std::unique_ptr<TensorSource> source;
  std::vector<std::string> in_blocks;  // tensors that a GGUF file holds in blocks of 8 or fewer bits
  Json config;  // config.json without quantization_config; of a GGUF file without one beside it, from its metadata
};

// The one GGUF file of a directory without safetensors, or nothing. Input error: several of them, or outputs in folders of their
// own, which are named.
std::optional<std::filesystem::path> only_gguf_file(const std::filesystem::path& directory);

// Input errors: nothing to read there, or a form of quantization that is not read here.
PlainModel open_plain_model(const std::string& path);

}  // namespace mpiquant
