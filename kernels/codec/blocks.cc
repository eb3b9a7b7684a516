#include "kernels/codec/blocks.h"

#include <array>
#include <cstring>

#include "kernels/codec/scalar.h"
#include "src/base/error.h"

namespace mpiquant::codec {
namespace {

constexpr std::size_t kBlock = 32;
constexpr std::size_t kBatch = 16;  // blocks whose parameters become halves together

using Halves = std::array<std::uint16_t, kBatch>;

[[gnu::always_inline]] inline void store(std::uint16_t half, std::byte* out) { std::memcpy(out, &half, sizeof half); }

// Byte by byte, so that the loops become vector code.
[[gnu::always_inline]] inline void pack_bytes(const std::uint8_t* codes, std::byte* out) {
  std::array<std::uint8_t, kBlock> bytes;
  std::memcpy(bytes.data(), codes, sizeof bytes);
  for (std::uint8_t& byte : bytes) byte ^= 128U;
  std::memcpy(out, bytes.data(), sizeof bytes);
}
[[gnu::always_inline]] inline void pack_nibbles(const std::uint8_t* codes, std::byte* out) {
  std::array<std::uint8_t, kBlock / 2> low, high;
  std::memcpy(low.data(), codes, sizeof low);
  std::memcpy(high.data(), codes + sizeof low, sizeof high);
  for (std::size_t j = 0; j < kBlock / 2; ++j) low[j] = static_cast<std::uint8_t>(low[j] | high[j] << 4U);
  std::memcpy(out, low.data(), sizeof low);
}

// Blocks [0, count) of `count` <= kBatch.
template <CodecKind kKind>
[[gnu::always_inline]] inline void pack_batch(const std::uint8_t* codes, const GroupParams* params, std::size_t count,
                                              std::byte* out) {
  constexpr std::size_t kHead = kKind == CodecKind::kQ4_1 ? 2 * sizeof(std::uint16_t) : sizeof(std::uint16_t);
  constexpr std::size_t kBytes = kHead + (kKind == CodecKind::kQ8_0 ? kBlock : kBlock / 2);
  Halves scales, offsets;
  for (std::size_t b = 0; b < count; ++b) scales[b] = f16_bits(params[b].scale);
  if (kKind == CodecKind::kQ4_1)
    for (std::size_t b = 0; b < count; ++b) offsets[b] = f16_bits(params[b].offset);
  for (std::size_t b = 0; b < count; ++b) {
    std::byte* block = out + b * kBytes;
    store(scales[b], block);
    if (kKind == CodecKind::kQ4_1) store(offsets[b], block + sizeof(std::uint16_t));
    if (kKind == CodecKind::kQ8_0)
      pack_bytes(codes + b * kBlock, block + kHead);
    else
      pack_nibbles(codes + b * kBlock, block + kHead);
  }
}

template <CodecKind kKind>
[[gnu::always_inline]] inline void pack_all(const std::uint8_t* codes, const GroupParams* params, std::size_t blocks,
                                            std::byte* out, std::size_t bytes) {
  for (; blocks >= kBatch; blocks -= kBatch, codes += kBatch * kBlock, params += kBatch, out += kBatch * bytes)
    pack_batch<kKind>(codes, params, kBatch, out);
  pack_batch<kKind>(codes, params, blocks, out);
}

MPIQUANT_MULTIVERSION void pack(CodecKind kind, const std::uint8_t* codes, const GroupParams* params, std::size_t blocks,
                                std::byte* out, std::size_t bytes) {
  if (kind == CodecKind::kQ8_0) return pack_all<CodecKind::kQ8_0>(codes, params, blocks, out, bytes);
  if (kind == CodecKind::kQ4_0) return pack_all<CodecKind::kQ4_0>(codes, params, blocks, out, bytes);
  return pack_all<CodecKind::kQ4_1>(codes, params, blocks, out, bytes);
}

std::size_t block_bytes(CodecKind kind) {
  switch (kind) {
    case CodecKind::kQ8_0: return 34;
    case CodecKind::kQ4_0: return 18;
    case CodecKind::kQ4_1: return 20;
    default: fail(ExitCode::kInternal, "internal error: this codec has no ggml blocks");
  }
}

}  // namespace

void pack_blocks(CodecKind kind, std::span<const std::uint8_t> codes, std::span<const GroupParams> params,
                 std::span<std::byte> out) {
  const std::size_t bytes = block_bytes(kind);
  expect(codes.size() == params.size() * kBlock && out.size() == params.size() * bytes, "{} codes in {} bytes", codes.size(),
         out.size());
  pack(kind, codes.data(), params.data(), params.size(), out.data(), bytes);
}

}  // namespace mpiquant::codec
