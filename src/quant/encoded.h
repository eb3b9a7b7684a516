#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/codec/codec.h"

namespace mpiquant {

// EncodedRows as bytes in host order, to travel between ranks of one run: six int64 (row_begin, rows, cols, groups, underflows,
// overflows), then codes, params and loss as in memory.
std::vector<std::byte> to_bytes(const EncodedRows& rows);

// Throws (environment error) when the bytes are not those of to_bytes.
EncodedRows encoded_from_bytes(std::span<const std::byte> bytes);

// Bytes of `rows` rows of a linear of `cols` columns.
std::int64_t encoded_bytes(const CodecSpec& codec, std::int64_t rows, std::int64_t cols);

}  // namespace mpiquant
