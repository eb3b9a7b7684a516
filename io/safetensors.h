#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "src/base/dtype.h"
#include "src/base/tensor.h"

namespace mpiquant {

// The safetensors format: u64 header length n, n bytes of JSON, then the data without holes up to the end of the file.
// Source: safetensors/src/tensor.rs of huggingface/safetensors.

// Bits of an element of a header dtype ("BF16", "F8_E4M3", "F4"), or nothing for a name the format does not have.
std::optional<int> safetensors_dtype_bits(std::string_view dtype);

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  // as in the header; dtype_from_safetensors() says if it is a DType
  Shape shape;
  std::int64_t offset = 0;  // of the first byte in the file
  std::int64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// Reads and checks the header of an open file. Whatever breaks a rule of the format (length, JSON, dtype, shape against length,
// holes, overlaps, end of the file) is an input error that names the file and the tensor.
SafetensorsHeader parse_safetensors_header(const File& file);

struct SafetensorsTensor {
  std::string name;
  std::string dtype;
  Shape shape;
};

struct SafetensorsLayout {
  std::vector<std::byte> header;          // at offset 0: length, JSON, spaces up to a multiple of 8
  std::vector<SafetensorsEntry> entries;  // in the order of their data
  std::int64_t file_bytes = 0;
};

enum class TensorOrder : std::uint8_t {
  kReference,  // dtype (widest first), then name, as the reference writer
  kGiven,      // as given, provided that every tensor begins at a multiple of its element; otherwise kReference
};

// Header, offsets and size of a file that holds these tensors (names unique, known dtypes); a pure function.
SafetensorsLayout build_safetensors_header(std::span<const SafetensorsTensor> tensors,
                                           const std::map<std::string, std::string>& metadata = {{"format", "pt"}},
                                           TensorOrder order = TensorOrder::kReference);

}  // namespace mpiquant
