#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec.h"

namespace mpiquant::codec {

// One row of a ggml codec as it is stored, blocks of 32 columns one after the other: Q8_0 (34 bytes: half d, 32 signed codes),
// Q4_0 (18: half d, 16 bytes, low nibble j and high nibble j + 16), Q4_1 (20: half d, half m, nibbles as Q4_0). codes [cols],
// params [cols / 32]; out holds just the blocks. Source: ggml/src/ggml-common.h.
void pack_blocks(CodecKind kind, std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                 std::span<std::byte> out);

}  // namespace mpiquant::codec
