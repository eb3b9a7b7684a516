#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace mpiquant {

enum class DType : std::uint8_t { kF32, kF16, kBF16, kF64, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kBool };

struct DTypeInfo {
  DType dtype;
  std::string_view safetensors_name;  // "BF16"
  std::string_view torch_name;        // "bfloat16"
  std::size_t bytes;
};

const DTypeInfo& info(DType dtype);
std::size_t size_of(DType dtype);
// The dtype of a safetensors header name ("BF16"), or nothing if it is not one of DType.
std::optional<DType> dtype_from_safetensors(std::string_view name);
// The dtype of a torch name ("bfloat16", "torch.bfloat16"), or nothing.
std::optional<DType> dtype_from_torch(std::string_view name);
bool is_float(DType dtype);

// IEEE half and bfloat16 as bits; conversions round to nearest, ties to even, keep infinities and NaN.
std::uint16_t f32_to_f16(float value);
float f16_to_f32(std::uint16_t bits);
constexpr float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
constexpr std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(value);
  if ((u & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((u >> 16) | 0x40U);
  return static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
}

// In what the factors of matrix products are taken; sums, and everything else, are fp32.
enum class ComputeType : std::uint8_t { kF32, kBF16, kF16 };
// "f32", "bf16".
std::string_view to_string(ComputeType type);
// Nothing for another name.
std::optional<ComputeType> compute_type(std::string_view name);

// The value of x after it was stored as dtype (F32, F16 or BF16).
float round_to(DType dtype, float x);

// Element-wise conversion of F32, F16, BF16 or F64 values; src.size() must be dst.size() * size_of(dtype) bytes.
void to_f32(DType dtype, std::span<const std::byte> src, std::span<float> dst);
void from_f32(DType dtype, std::span<const float> src, std::span<std::byte> dst);

}  // namespace mpiquant
