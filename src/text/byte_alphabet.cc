#include "src/text/byte_alphabet.h"

#include <array>

#include "src/text/unicode.h"

namespace mpiquant {

namespace {

std::array<std::string, 256> make_alphabet() {
  std::array<std::string, 256> alphabet;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    append_utf8(alphabet[byte], printable ? byte : next++);
  }
  return alphabet;
}

}  // namespace

std::string_view byte_to_piece(unsigned char byte) {
  static const std::array<std::string, 256> alphabet = make_alphabet();
  return alphabet[byte];
}

std::string bytes_to_pieces(std::string_view bytes) {
  std::string pieces;
  pieces.reserve(bytes.size() * 2);
  for (const char byte : bytes) pieces += byte_to_piece(static_cast<unsigned char>(byte));
  return pieces;
}

}  // namespace mpiquant
