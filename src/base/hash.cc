#include "src/base/hash.h"

#include <openssl/evp.h>
#include <xxhash.h>

#include <array>

#include "src/base/error.h"

namespace mpiquant {

struct Sha256::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  expect(state_->context && EVP_DigestInit_ex(state_->context.get(), EVP_sha256(), nullptr) == 1, "SHA-256 cannot start");
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  expect(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1, "SHA-256 update failed");
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  expect(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size) == 1, "SHA-256 final failed");
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
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
