#include "src/base/dtype.h"

#include <array>
#include <cstring>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::array<DTypeInfo, 13> kDTypes = {{
    {DType::kF32, "F32", "float32", 4},
    {DType::kF16, "F16", "float16", 2},
    {DType::kBF16, "BF16", "bfloat16", 2},
    {DType::kF64, "F64", "float64", 8},
    {DType::kI8, "I8", "int8", 1},
    {DType::kU8, "U8", "uint8", 1},
    {DType::kI16, "I16", "int16", 2},
    {DType::kU16, "U16", "uint16", 2},
    {DType::kI32, "I32", "int32", 4},
    {DType::kU32, "U32", "uint32", 4},
    {DType::kI64, "I64", "int64", 8},
    {DType::kU64, "U64", "uint64", 8},
    {DType::kBool, "BOOL", "bool", 1},
}};

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <typename T>
void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

}  // namespace

const DTypeInfo& info(DType dtype) {
  const auto index = static_cast<std::size_t>(dtype);
  expect(index < kDTypes.size() && kDTypes[index].dtype == dtype, "dtype {} is not in the table", index);
  return kDTypes[index];
}

std::size_t size_of(DType dtype) { return info(dtype).bytes; }

std::optional<DType> dtype_from_safetensors(std::string_view name) {
  for (const DTypeInfo& row : kDTypes)
    if (row.safetensors_name == name) return row.dtype;
  return std::nullopt;
}

std::optional<DType> dtype_from_torch(std::string_view name) {
  constexpr std::string_view kPrefix = "torch.";
  if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
  for (const DTypeInfo& row : kDTypes)
    if (row.torch_name == name) return row.dtype;
  return std::nullopt;
}

bool is_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF64;
}

std::string_view to_string(ComputeType type) {
  switch (type) {
    case ComputeType::kBF16: return "bf16";
    case ComputeType::kF16: return "f16";
    default: return "f32";
  }
}

std::optional<ComputeType> compute_type(std::string_view name) {
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16, ComputeType::kF16})
    if (to_string(type) == name) return type;
  return std::nullopt;
}

std::uint16_t f32_to_f16(float value) {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (u >> 16) & 0x8000U;
  const std::uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return static_cast<std::uint16_t>(sign | 0x7e00U);
  if (magnitude >= 0x477ff000U) return static_cast<std::uint16_t>(sign | 0x7c00U);  // rounds to 65536 or more
  if (magnitude < 0x38800000U) {
    // Subnormal half: adding 0.5 aligns the value to units of 2^-24, rounded by the FPU to nearest even.
    const float aligned = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3f000000U));
  }
  const std::uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

float f16_to_f32(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

float round_to(DType dtype, float x) {
  switch (dtype) {
    case DType::kF32: return x;
    case DType::kF16: return f16_to_f32(f32_to_f16(x));
    case DType::kBF16: return bf16_to_f32(f32_to_bf16(x));
    default: fail(ExitCode::kInternal, "internal error: no rounding to {}", info(dtype).torch_name);
  }
}

void to_f32(DType dtype, std::span<const std::byte> src, std::span<float> dst) {
  expect(src.size() == dst.size() * size_of(dtype), "to_f32: {} bytes for {} values", src.size(), dst.size());
  if (src.empty()) return;
  const std::byte* s = src.data();
  switch (dtype) {
    case DType::kF32: std::memcpy(dst.data(), s, src.size()); return;
    case DType::kF16:
      for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = f16_to_f32(load<std::uint16_t>(s + 2 * i));
      return;
    case DType::kBF16:
      for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = bf16_to_f32(load<std::uint16_t>(s + 2 * i));
      return;
    case DType::kF64:
      for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = static_cast<float>(load<double>(s + 8 * i));
      return;
    default: fail(ExitCode::kInternal, "internal error: {} values are not floats", info(dtype).torch_name);
  }
}

void from_f32(DType dtype, std::span<const float> src, std::span<std::byte> dst) {
  expect(dst.size() == src.size() * size_of(dtype), "from_f32: {} bytes for {} values", dst.size(), src.size());
  if (src.empty()) return;
  std::byte* d = dst.data();
  switch (dtype) {
    case DType::kF32: std::memcpy(d, src.data(), dst.size()); return;
    case DType::kF16:
      for (std::size_t i = 0; i < src.size(); ++i) store(d + 2 * i, f32_to_f16(src[i]));
      return;
    case DType::kBF16:
      for (std::size_t i = 0; i < src.size(); ++i) store(d + 2 * i, f32_to_bf16(src[i]));
      return;
    case DType::kF64:
      for (std::size_t i = 0; i < src.size(); ++i) store(d + 8 * i, static_cast<double>(src[i]));
      return;
    default: fail(ExitCode::kInternal, "internal error: {} values are not floats", info(dtype).torch_name);
  }
}

}  // namespace mpiquant
