#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mpiquant {

// Incremental SHA-256 (OpenSSL); hex() finishes and returns 64 lower-case digits.
class Sha256 {
 public:
  static constexpr std::size_t kBlockBytes = 64;

  Sha256();
  // Goes on from state(), which is 64 lower-case digits, after `bytes` bytes, a multiple of kBlockBytes.
  Sha256(std::string_view state, std::uint64_t bytes);
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(std::span<const std::byte> bytes);
  // The chaining value, to go on from elsewhere; only after a multiple of kBlockBytes.
  std::string state() const;
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view text);

// Incremental XXH3-128 for identifying inputs; hex() returns 32 lower-case digits.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  Xxh3(Xxh3&&) noexcept;
  Xxh3& operator=(Xxh3&&) noexcept;
  void update(std::span<const std::byte> bytes);
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string xxh3_hex(std::string_view text);

}  // namespace mpiquant
