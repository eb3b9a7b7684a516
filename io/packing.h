#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mpiquant {

// Codes of 1 to 8 bits laid end to end in one stream, least significant bit first, cut into little-endian 32-bit words.
// At 2, 4 and 8 bits no code crosses a word; at 3 bits 32 codes fill 3 words (FORMATS: GPTQ bit packing).

// Words that a stream of count codes takes; the last one is filled up with zero bits.
std::int64_t packed_words(std::int64_t count, int bits);

// Each row of codes [rows, cols] is a stream of its own. words: [rows, packed_words(cols)].
void pack_rows(std::span<const std::uint8_t> codes, std::int64_t rows, std::int64_t cols, int bits, std::span<std::byte> words);
void unpack_rows(std::span<const std::byte> words, std::int64_t rows, std::int64_t cols, int bits, std::span<std::uint8_t> codes);

// The same streams stored as columns. words: [packed_words(cols), rows].
void pack_columns(std::span<const std::uint8_t> codes, std::int64_t rows, std::int64_t cols, int bits,
                  std::span<std::byte> words);
void unpack_columns(std::span<const std::byte> words, std::int64_t rows, std::int64_t cols, int bits,
                    std::span<std::uint8_t> codes);

}  // namespace mpiquant
