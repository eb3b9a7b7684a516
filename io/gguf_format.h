#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace mpiquant::gguf {

inline constexpr std::array<char, 4> kMagic = {'G', 'G', 'U', 'F'};
inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::uint32_t kOldestVersion = 2;
inline constexpr std::int64_t kDefaultAlignment = 32;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr std::size_t kMaxDims = 4;
inline constexpr std::size_t kMaxNameBytes = 63;

// Stored ids of the scalar types in the order of GgufValue's alternatives; an array has kArrayId, then its element's id.
inline constexpr std::array<std::int32_t, 12> kTypeIds = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12};
inline constexpr std::int32_t kArrayId = 9;

// `value` rounded up to a multiple of `alignment`, a power of two; nothing when that passes 2^63.
inline std::optional<std::int64_t> align_up(std::int64_t value, std::int64_t alignment) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(value, alignment - 1, &sum)) return std::nullopt;
  return sum & ~(alignment - 1);
}

}  // namespace mpiquant::gguf
