#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/file.h"
#include "io/ggml_types.h"

namespace mpiquant {

// The GGUF container, version 3, little-endian: magic, counts, key-values, tensor infos, then the data section, aligned.
// Source: ggml/include/gguf.h and ggml/src/gguf.cpp of llama.cpp.

// A value of one of the format's types, or an array of them; the alternative is the stored type.
using GgufValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float, bool, std::string,
                 std::uint64_t, std::int64_t, double,  //
                 std::vector<std::uint8_t>, std::vector<std::int8_t>, std::vector<std::uint16_t>, std::vector<std::int16_t>,
                 std::vector<std::uint32_t>, std::vector<std::int32_t>, std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<std::uint64_t>, std::vector<std::int64_t>, std::vector<double>>;

struct GgufKeyValue {
  std::string key;
  GgufValue value;
};

struct GgufTensor {
  std::string name;  // below 64 bytes
  GgmlType type = GgmlType::kF32;
  std::vector<std::int64_t> dims;  // at most four, fastest-varying first: a PyTorch [out, in] weight is {in, out}
  std::int64_t offset = 0;         // of the first byte in the file
  std::int64_t bytes = 0;
};

struct GgufHeader {
  std::uint32_t version = 3;
  std::vector<GgufKeyValue> values;  // in the order of the file
  std::vector<GgufTensor> tensors;   // in the order of the file, which is that of their data
  std::int64_t alignment = 32;
  std::int64_t data_offset = 0;  // of the data section in the file

  // nullptr when there is none of that name.
  const GgufValue* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;
  // The value of a key if it is there and of type T, else nullptr.
  template <typename T>
  const T* get(std::string_view key) const {
    const GgufValue* value = find(key);
    return value == nullptr ? nullptr : std::get_if<T>(value);
  }
};

// Reads and checks the header of an open file as strictly as llama.cpp's own reader; what breaks a rule is an input error that
// names the file and the key or tensor.
GgufHeader parse_gguf(const File& file);

struct GgufLayout {
  std::vector<std::byte> header;    // at offset 0, up to the data section
  std::vector<GgufTensor> tensors;  // with offsets and bytes; the padding between them is zero
  std::int64_t file_bytes = 0;      // with the padding after the last tensor
};

// Header, offsets and size of a file with these values and tensors (offset and bytes of the input are ignored), in the order
// given; a pure function. The alignment is that of general.alignment, else 32.
GgufLayout build_gguf_header(std::span<const GgufKeyValue> values, std::span<const GgufTensor> tensors);

}  // namespace mpiquant
