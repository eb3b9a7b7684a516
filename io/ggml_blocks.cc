#include "io/ggml_blocks.h"

#include <array>
#include <cstring>
#include <vector>

#include "kernels/codec/blocks.h"
#include "kernels/codec/grids.h"
#include "kernels/codec/rows.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::size_t kBlockColumns = 32;

struct BlockType {
  CodecKind kind;
  GgmlType type;
  int bits;
  bool symmetric;
};
constexpr std::array<BlockType, 3> kBlockTypes = {{{CodecKind::kQ8_0, GgmlType::kQ8_0, 8, true},
                                                   {CodecKind::kQ4_0, GgmlType::kQ4_0, 4, true},
                                                   {CodecKind::kQ4_1, GgmlType::kQ4_1, 4, false}}};

float load_half(const std::byte* in) {
  std::uint16_t bits;
  std::memcpy(&bits, in, sizeof bits);
  return f16_to_f32(bits);
}

// The codes of a block lie after its half d and, for Q4_1, its half m.
std::size_t head_bytes(CodecKind kind) { return kind == CodecKind::kQ4_1 ? 4 : 2; }

std::size_t block_bytes(CodecKind kind) {
  const auto type = ggml_type_of(kind);
  expect(type.has_value(), "this codec has no GGUF type");
  return static_cast<std::size_t>(info(*type).block_bytes);
}

void unpack_block(CodecKind kind, const std::byte* in, std::uint8_t* codes, GroupParams& params) {
  params.scale = load_half(in);
  params.offset = kind == CodecKind::kQ4_1 ? load_half(in + 2) : 0.0F;
  const std::byte* bytes = in + head_bytes(kind);
  for (std::size_t j = 0; j < (kind == CodecKind::kQ8_0 ? kBlockColumns : kBlockColumns / 2); ++j) {
    const auto byte = std::to_integer<unsigned>(bytes[j]);
    if (kind == CodecKind::kQ8_0) {
      codes[j] = static_cast<std::uint8_t>(byte + 128U);
    } else {
      codes[j] = static_cast<std::uint8_t>(byte & 15U);
      codes[j + 16] = static_cast<std::uint8_t>(byte >> 4U);
    }
  }
}

}  // namespace

std::optional<GgmlType> ggml_type_of(CodecKind kind) {
  for (const BlockType& row : kBlockTypes)
    if (row.kind == kind) return row.type;
  return std::nullopt;
}

std::optional<CodecSpec> ggml_codec(GgmlType type) {
  for (const BlockType& row : kBlockTypes)
    if (row.type == type)
      return CodecSpec{.kind = row.kind,
                       .bits = row.bits,
                       .group_size = kBlockColumns,
                       .symmetric = row.symmetric,
                       .scale_dtype = DType::kF16,
                       .mse = false};
  return std::nullopt;
}

void pack_ggml_row(CodecKind kind, std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                   std::span<std::byte> out) {
  codec::pack_blocks(kind, codes, params, out);
}

void unpack_ggml_row(CodecKind kind, std::span<const std::byte> row, std::span<std::uint8_t> codes,
                     std::span<GroupParams> params) {
  const std::size_t bytes = block_bytes(kind);
  expect(codes.size() == params.size() * kBlockColumns && row.size() == params.size() * bytes, "{} codes in {} bytes",
         codes.size(), row.size());
  for (std::size_t b = 0; b < params.size(); ++b)
    unpack_block(kind, row.data() + b * bytes, codes.data() + b * kBlockColumns, params[b]);
}

void encode_ggml_row(CodecKind kind, std::span<const float> values, std::span<std::byte> out) {
  std::vector<std::uint8_t> codes(values.size());
  std::vector<GroupParams> params(values.size() / kBlockColumns);
  codec::round_row(*ggml_codec(*ggml_type_of(kind)), values, codes, params);
  pack_ggml_row(kind, codes, params, out);
}

void decode_ggml_rows(GgmlType type, std::int64_t cols, std::span<const std::byte> rows, std::span<float> out) {
  if (type == GgmlType::kF32) return to_f32(DType::kF32, rows, out);
  if (type == GgmlType::kF16) return to_f32(DType::kF16, rows, out);
  if (type == GgmlType::kBF16) return to_f32(DType::kBF16, rows, out);
  const auto spec = ggml_codec(type);
  expect(spec.has_value(), "type {} cannot be decoded", info(type).name);
  const std::size_t width = static_cast<std::size_t>(cols);
  const std::size_t row_bytes = width / kBlockColumns * block_bytes(spec->kind);
  std::vector<std::uint8_t> codes(width);
  std::vector<GroupParams> params(width / kBlockColumns);
  codec::with_grid(*spec, [&](const auto& grid) {
    for (std::size_t row = 0; row < out.size() / width; ++row) {
      unpack_ggml_row(spec->kind, rows.subspan(row * row_bytes, row_bytes), codes, params);
      for (std::size_t k = 0; k < width; ++k)
        out[row * width + k] = grid.value(static_cast<float>(codes[k]), params[k / kBlockColumns]);
    }
  });
}

}  // namespace mpiquant
