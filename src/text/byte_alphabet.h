#pragma once

#include <string>
#include <string_view>

namespace mpiquant {

// GPT-2's printable alphabet for bytes: '!'..'~', U+00A1..U+00AC and U+00AE..U+00FF stand for themselves, the other 68 bytes
// for U+0100 + n in their order (openai/gpt-2, src/encoder.py, bytes_to_unicode).
std::string_view byte_to_piece(unsigned char byte);
std::string bytes_to_pieces(std::string_view bytes);

}  // namespace mpiquant
