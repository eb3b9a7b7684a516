#include "io/ggml_types.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::array kTypes = std::to_array<GgmlTypeInfo>({
    {GgmlType::kF32, "F32", 1, 4},
    {GgmlType::kF16, "F16", 1, 2},
    {GgmlType::kQ4_0, "Q4_0", 32, 18},
    {GgmlType::kQ4_1, "Q4_1", 32, 20},
    {GgmlType::kQ5_0, "Q5_0", 32, 22},
    {GgmlType::kQ5_1, "Q5_1", 32, 24},
    {GgmlType::kQ8_0, "Q8_0", 32, 34},
    {GgmlType::kQ8_1, "Q8_1", 32, 36},
    {GgmlType::kQ2_K, "Q2_K", 256, 84},
    {GgmlType::kQ3_K, "Q3_K", 256, 110},
    {GgmlType::kQ4_K, "Q4_K", 256, 144},
    {GgmlType::kQ5_K, "Q5_K", 256, 176},
    {GgmlType::kQ6_K, "Q6_K", 256, 210},
    {GgmlType::kQ8_K, "Q8_K", 256, 292},
    {GgmlType::kIQ2_XXS, "IQ2_XXS", 256, 66},
    {GgmlType::kIQ2_XS, "IQ2_XS", 256, 74},
    {GgmlType::kIQ3_XXS, "IQ3_XXS", 256, 98},
    {GgmlType::kIQ1_S, "IQ1_S", 256, 50},
    {GgmlType::kIQ4_NL, "IQ4_NL", 32, 18},
    {GgmlType::kIQ3_S, "IQ3_S", 256, 110},
    {GgmlType::kIQ2_S, "IQ2_S", 256, 82},
    {GgmlType::kIQ4_XS, "IQ4_XS", 256, 136},
    {GgmlType::kI8, "I8", 1, 1},
    {GgmlType::kI16, "I16", 1, 2},
    {GgmlType::kI32, "I32", 1, 4},
    {GgmlType::kI64, "I64", 1, 8},
    {GgmlType::kF64, "F64", 1, 8},
    {GgmlType::kIQ1_M, "IQ1_M", 256, 56},
    {GgmlType::kBF16, "BF16", 1, 2},
    {GgmlType::kTQ1_0, "TQ1_0", 256, 54},
    {GgmlType::kTQ2_0, "TQ2_0", 256, 66},
    {GgmlType::kMXFP4, "MXFP4", 32, 17},
    {GgmlType::kNVFP4, "NVFP4", 64, 36},
    {GgmlType::kQ1_0, "Q1_0", 128, 18},
    {GgmlType::kQ2_0, "Q2_0", 64, 18},
});

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto same = [](unsigned char x, unsigned char y) { return std::toupper(x) == std::toupper(y); };
  return std::ranges::equal(a, b, same);
}

}  // namespace

std::span<const GgmlTypeInfo> ggml_types() { return kTypes; }

const GgmlTypeInfo* find_ggml_type(std::int32_t id) {
  const auto* row = std::ranges::find(kTypes, static_cast<GgmlType>(id), &GgmlTypeInfo::type);
  return row == kTypes.end() ? nullptr : row;
}

const GgmlTypeInfo* find_ggml_type(std::string_view name) {
  const auto* row = std::ranges::find_if(kTypes, [&](const GgmlTypeInfo& r) { return equal_ignoring_case(r.name, name); });
  return row == kTypes.end() ? nullptr : row;
}

const GgmlTypeInfo& info(GgmlType type) {
  const GgmlTypeInfo* row = find_ggml_type(static_cast<std::int32_t>(type));
  expect(row != nullptr, "ggml type {} is not in the table", static_cast<std::int32_t>(type));
  return *row;
}

std::optional<std::int64_t> ggml_bytes(GgmlType type, std::span<const std::int64_t> dims) {
  const GgmlTypeInfo& row = info(type);
  const std::int64_t width = dims.empty() ? 1 : dims[0];
  if (width < 0 || width % row.block != 0) return std::nullopt;
  std::int64_t elements = width;
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(width / row.block, row.block_bytes, &bytes)) return std::nullopt;
  for (std::size_t i = 1; i < dims.size(); ++i)
    if (dims[i] < 0 || __builtin_mul_overflow(elements, dims[i], &elements) || __builtin_mul_overflow(bytes, dims[i], &bytes))
      return std::nullopt;
  return bytes;
}

}  // namespace mpiquant
