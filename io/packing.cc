#include "io/packing.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "src/base/error.h"

namespace mpiquant {
namespace {

static_assert(std::endian::native == std::endian::little, "words are stored as they lie in memory");

constexpr std::int64_t kUnit = 32;  // codes that fill a whole number of words (`bits` of them)

using Unit = std::array<std::uint32_t, 8>;

// Up to 32 codes to up to `bits` words; missing codes are zero.
Unit pack_unit(const std::uint8_t* codes, std::int64_t count, int bits) {
  Unit words{};
  std::uint64_t buffer = 0;
  int held = 0;
  std::size_t word = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    buffer |= static_cast<std::uint64_t>(codes[i]) << held;
    held += bits;
    if (held >= 32) {
      words[word++] = static_cast<std::uint32_t>(buffer);
      buffer >>= 32;
      held -= 32;
    }
  }
  if (held > 0) words[word] = static_cast<std::uint32_t>(buffer);
  return words;
}

void unpack_unit(const Unit& words, std::int64_t count, int bits, std::uint8_t* codes) {
  const std::uint32_t mask = (1U << bits) - 1U;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t bit = i * bits;
    const std::size_t word = static_cast<std::size_t>(bit / 32);
    std::uint64_t pair = words[word];
    if (word + 1 < words.size()) pair |= static_cast<std::uint64_t>(words[word + 1]) << 32;
    codes[i] = static_cast<std::uint8_t>((pair >> (bit % 32)) & mask);
  }
}

// Word w of row r lies at [r * row_stride + w * word_stride].
struct Layout {
  std::int64_t rows, cols, words, row_stride, word_stride;
  int bits;
};

Layout layout_of(std::int64_t rows, std::int64_t cols, int bits, bool columns, std::size_t code_count, std::size_t byte_count) {
  expect(bits >= 1 && bits <= 8, "{} bits cannot be packed", bits);
  const std::int64_t words = packed_words(cols, bits);
  expect(code_count == static_cast<std::size_t>(rows * cols), "{} codes for a {} x {} matrix", code_count, rows, cols);
  expect(byte_count == static_cast<std::size_t>(rows * words * 4), "{} bytes for {} x {} words", byte_count, rows, words);
  return {rows, cols, words, columns ? 1 : words, columns ? rows : 1, bits};
}

// Calls body(row, first column, count, first word, number of words) for every unit, 16 rows at a time: in the column layout
// the words of 16 rows share a cache line.
template <typename Body>
void for_each_unit(const Layout& layout, const Body& body) {
  constexpr std::int64_t kRows = 16;
  for (std::int64_t begin = 0; begin < layout.rows; begin += kRows) {
    const std::int64_t end = std::min(layout.rows, begin + kRows);
    for (std::int64_t col = 0; col < layout.cols; col += kUnit) {
      const std::int64_t count = std::min(kUnit, layout.cols - col);
      const std::int64_t word = col / kUnit * layout.bits;
      for (std::int64_t row = begin; row < end; ++row) body(row, col, count, word, packed_words(count, layout.bits));
    }
  }
}

void pack(std::span<const std::uint8_t> codes, const Layout& layout, std::span<std::byte> out) {
  for_each_unit(layout, [&](std::int64_t row, std::int64_t col, std::int64_t count, std::int64_t word, std::int64_t words) {
    const Unit unit = pack_unit(codes.data() + row * layout.cols + col, count, layout.bits);
    for (std::int64_t i = 0; i < words; ++i)
      std::memcpy(out.data() + (row * layout.row_stride + (word + i) * layout.word_stride) * 4,
                  &unit[static_cast<std::size_t>(i)], 4);
  });
}

void unpack(std::span<const std::byte> in, const Layout& layout, std::span<std::uint8_t> codes) {
  for_each_unit(layout, [&](std::int64_t row, std::int64_t col, std::int64_t count, std::int64_t word, std::int64_t words) {
    Unit unit{};
    for (std::int64_t i = 0; i < words; ++i)
      std::memcpy(&unit[static_cast<std::size_t>(i)], in.data() + (row * layout.row_stride + (word + i) * layout.word_stride) * 4,
                  4);
    unpack_unit(unit, count, layout.bits, codes.data() + row * layout.cols + col);
  });
}

}  // namespace

std::int64_t packed_words(std::int64_t count, int bits) { return (count * bits + 31) / 32; }

void pack_rows(std::span<const std::uint8_t> codes, std::int64_t rows, std::int64_t cols, int bits, std::span<std::byte> words) {
  pack(codes, layout_of(rows, cols, bits, false, codes.size(), words.size()), words);
}

void unpack_rows(std::span<const std::byte> words, std::int64_t rows, std::int64_t cols, int bits,
                 std::span<std::uint8_t> codes) {
  unpack(words, layout_of(rows, cols, bits, false, codes.size(), words.size()), codes);
}

void pack_columns(std::span<const std::uint8_t> codes, std::int64_t rows, std::int64_t cols, int bits,
                  std::span<std::byte> words) {
  pack(codes, layout_of(rows, cols, bits, true, codes.size(), words.size()), words);
}

void unpack_columns(std::span<const std::byte> words, std::int64_t rows, std::int64_t cols, int bits,
                    std::span<std::uint8_t> codes) {
  unpack(words, layout_of(rows, cols, bits, true, codes.size(), words.size()), codes);
}

}  // namespace mpiquant
