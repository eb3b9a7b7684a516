// EVP, which replaces these functions, cannot hand out its state.
#define OPENSSL_SUPPRESS_DEPRECATED

#include "src/base/hash.h"

#include <openssl/sha.h>
#include <xxhash.h>

#include <array>
#include <charconv>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::size_t kWordDigits = 8;

}  // namespace

struct Sha256::State {
  SHA256_CTX context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) { expect(SHA256_Init(&state_->context) == 1, "SHA-256 cannot start"); }

Sha256::Sha256(std::string_view state, std::uint64_t bytes) : Sha256() {
  SHA256_CTX& context = state_->context;
  expect(state.size() == std::size(context.h) * kWordDigits && bytes % kBlockBytes == 0, "\"{}\" after {} bytes is no state",
         state, bytes);
  for (std::size_t i = 0; i < std::size(context.h); ++i) {
    const std::string_view digits = state.substr(i * kWordDigits, kWordDigits);
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), context.h[i], 16);
    expect(error == std::errc() && end == digits.end(), "\"{}\" is no state", state);
  }
  // The length so far, in bits.
  context.Nl = static_cast<SHA_LONG>(bytes << 3U);
  context.Nh = static_cast<SHA_LONG>(bytes >> 29U);
}

Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  expect(SHA256_Update(&state_->context, bytes.data(), bytes.size()) == 1, "SHA-256 update failed");
}

std::string Sha256::state() const {
  expect(state_->context.num == 0, "SHA-256 has {} bytes of a block that is not full", state_->context.num);
  std::string text;
  for (const SHA_LONG word : state_->context.h) text += fmt::format("{:08x}", word);
  return text;
}

std::string Sha256::hex() {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  expect(SHA256_Final(digest.data(), &state_->context) == 1, "SHA-256 final failed");
  std::string text;
  for (const unsigned char byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

struct Xxh3::State {
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state{XXH3_createState(), &XXH3_freeState};
};

Xxh3::Xxh3() : state_(std::make_unique<State>()) {
  expect(state_->state && XXH3_128bits_reset(state_->state.get()) == XXH_OK, "XXH3 cannot start");
}
Xxh3::~Xxh3() = default;
Xxh3::Xxh3(Xxh3&&) noexcept = default;
Xxh3& Xxh3::operator=(Xxh3&&) noexcept = default;

void Xxh3::update(std::span<const std::byte> bytes) {
  expect(XXH3_128bits_update(state_->state.get(), bytes.data(), bytes.size()) == XXH_OK, "XXH3 update failed");
}

std::string Xxh3::hex() const {
  const XXH128_hash_t digest = XXH3_128bits_digest(state_->state.get());
  return fmt::format("{:016x}{:016x}", digest.high64, digest.low64);
}

std::string xxh3_hex(std::string_view text) {
  Xxh3 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

}  // namespace mpiquant
