#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mpiquant {

// Types of GGUF tensors; the numbers are those of the file format (ggml/include/ggml.h). Removed ids have no name here.
enum class GgmlType : std::int32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;  // "Q4_K"
  std::int64_t block;     // elements of a block, along the rows
  std::int64_t block_bytes;
};

// All rows, by id.
std::span<const GgmlTypeInfo> ggml_types();
const GgmlTypeInfo& info(GgmlType type);
// nullptr for ids that do not exist or were removed.
const GgmlTypeInfo* find_ggml_type(std::int32_t id);
// nullptr for unknown names; upper and lower case are the same.
const GgmlTypeInfo* find_ggml_type(std::string_view name);

// Bytes of a tensor with these extents (fastest-varying first); nothing when a row is not whole blocks, an extent is negative, or
// elements or bytes pass 2^63.
std::optional<std::int64_t> ggml_bytes(GgmlType type, std::span<const std::int64_t> dims);

}  // namespace mpiquant
