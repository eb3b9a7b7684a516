#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "io/packing.h"

namespace mpiquant {
namespace {

using Codes = std::vector<std::uint8_t>;

std::vector<std::uint32_t> words_of(const Codes& codes, int bits) {
  const auto cols = static_cast<std::int64_t>(codes.size());
  std::vector<std::uint32_t> words(static_cast<std::size_t>(packed_words(cols, bits)));
  pack_rows(codes, 1, cols, bits, std::as_writable_bytes(std::span(words)));
  return words;
}

// The worked examples of the formats' descriptions.
TEST(Packing, KnownWords) {
  EXPECT_EQ(words_of({1, 2, 3, 4, 5, 6, 7, 8}, 4), (std::vector<std::uint32_t>{0x87654321}));
  EXPECT_EQ(words_of({1, 2, 3, 4, 5, 6, 7, 8}, 8), (std::vector<std::uint32_t>{0x04030201, 0x08070605}));
  EXPECT_EQ(words_of({1, 2, 3, 0, 1, 2, 3, 0}, 2), (std::vector<std::uint32_t>{0x3939}));
  Codes three(32, 0);
  for (std::size_t i = 0; i < 7; ++i) three[i] = static_cast<std::uint8_t>(i + 1);
  EXPECT_EQ(words_of(three, 3), (std::vector<std::uint32_t>{0x001F58D1, 0, 0}));
  // Zero points of symmetric GPTQ, stored less one.
  EXPECT_EQ(words_of(Codes(32, 3), 3), (std::vector<std::uint32_t>{0xdb6db6db, 0xb6db6db6, 0x6db6db6d}));
  EXPECT_EQ(words_of(Codes(8, 7), 4), (std::vector<std::uint32_t>{0x77777777}));
  EXPECT_EQ(words_of(Codes(4, 127), 8), (std::vector<std::uint32_t>{0x7f7f7f7f}));
  EXPECT_EQ(words_of(Codes(16, 1), 2), (std::vector<std::uint32_t>{0x55555555}));
}

// Values 10 and 21 of 32 three-bit values cross from one word into the next.
TEST(Packing, ThreeBitsAcrossWords) {
  for (std::size_t at :
       {std::size_t{9}, std::size_t{10}, std::size_t{11}, std::size_t{20}, std::size_t{21}, std::size_t{22}, std::size_t{31}}) {
    Codes codes(32, 0);
    codes[at] = 7;
    const auto words = words_of(codes, 3);
    for (std::size_t bit = 0; bit < 96; ++bit)
      EXPECT_EQ((words[bit / 32] >> (bit % 32)) & 1U, bit / 3 == at ? 1U : 0U) << "value " << at << " bit " << bit;
  }
}

TEST(Packing, RoundTripsInBothLayouts) {
  std::mt19937 random(1);
  for (int bits : {1, 2, 3, 4, 5, 8})
    for (std::int64_t rows : {1, 7, 16, 33})
      for (std::int64_t cols : {1, 8, 31, 32, 33, 172, 256}) {
        Codes codes(static_cast<std::size_t>(rows * cols));
        for (auto& code : codes) code = static_cast<std::uint8_t>(random() & ((1U << bits) - 1U));
        const auto bytes = static_cast<std::size_t>(rows * packed_words(cols, bits) * 4);
        std::vector<std::byte> by_row(bytes);
        std::vector<std::byte> by_column(bytes);
        pack_rows(codes, rows, cols, bits, by_row);
        pack_columns(codes, rows, cols, bits, by_column);
        Codes from_rows(codes.size());
        Codes from_columns(codes.size());
        unpack_rows(by_row, rows, cols, bits, from_rows);
        unpack_columns(by_column, rows, cols, bits, from_columns);
        EXPECT_EQ(from_rows, codes);
        EXPECT_EQ(from_columns, codes);
        const std::int64_t words = packed_words(cols, bits);
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t w = 0; w < words; ++w)
            EXPECT_EQ(std::memcmp(by_row.data() + (r * words + w) * 4, by_column.data() + (w * rows + r) * 4, 4), 0);
      }
}

TEST(Packing, RefusesBuffersOfAnotherSize) {
  Codes codes(64);
  std::vector<std::byte> words(31);
  EXPECT_THROW(pack_rows(codes, 1, 64, 4, words), std::runtime_error);
}

}  // namespace
}  // namespace mpiquant
