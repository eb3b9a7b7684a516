#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "io/ggml_types.h"
#include "kernels/codec/codec.h"

namespace mpiquant {

// Rows of the block types that are written here, as bytes: Q8_0 (34 bytes: half d, 32 signed codes), Q4_0 (18: half d, 16 bytes,
// low nibble j and high nibble j + 16), Q4_1 (20: half d, half m, nibbles as Q4_0). Source: ggml/src/ggml-common.h.

// The type of a codec, or the codec of a type; nothing for the others.
std::optional<GgmlType> ggml_type_of(CodecKind kind);
std::optional<CodecSpec> ggml_codec(GgmlType type);

// One row: codes [cols], params [cols / 32] → stored bytes, and back.
void pack_ggml_row(CodecKind kind, std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                   std::span<std::byte> out);
void unpack_ggml_row(CodecKind kind, std::span<const std::byte> row, std::span<std::uint8_t> codes,
                     std::span<GroupParams> params);

// One row of floats rounded to nearest as ggml does without importance: the same bytes.
void encode_ggml_row(CodecKind kind, std::span<const float> values, std::span<std::byte> out);

// Stored rows [rows, cols] of a float or block type as fp32, with the values of ggml's own dequantization.
void decode_ggml_rows(GgmlType type, std::int64_t cols, std::span<const std::byte> rows, std::span<float> out);

}  // namespace mpiquant
