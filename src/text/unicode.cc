#include "src/text/unicode.h"

#include <unicode/uchar.h>

#include <cstdint>

#include "src/base/error.h"
#include "src/text/unicode_data.h"

namespace mpiquant {

namespace {

// Length of the valid UTF-8 sequence at `pos`, 0 if there is none (Unicode 15, table 3-7).
std::size_t sequence_length(std::string_view text, std::size_t pos) {
  const auto byte = [&](std::size_t i) {
    return pos + i < text.size() ? static_cast<std::uint8_t>(text[pos + i]) : std::uint8_t{0};
  };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool second = tail(1) && !(lead == 0xE0 && byte(1) < 0xA0) && !(lead == 0xED && byte(1) > 0x9F);
    return second && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool second = tail(1) && !(lead == 0xF0 && byte(1) < 0x90) && !(lead == 0xF4 && byte(1) > 0x8F);
    return second && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// General category of a code point as a bit of ICU's mask, in Unicode 16 whatever ICU's own version is.
std::uint32_t category_mask(char32_t code) {
  const std::uint32_t mask = U_GET_GC_MASK(static_cast<UChar32>(code));
  const std::string_view added = (mask & U_GC_CN_MASK) != 0 ? added_category(code) : std::string_view{};
  if (added.empty()) return mask;
  switch (added[0]) {
    case 'L': return U_GC_LO_MASK;
    case 'M': return U_GC_MN_MASK;
    case 'N': return added[1] == 'd' ? U_GC_ND_MASK : U_GC_NO_MASK;
    case 'P': return U_GC_PO_MASK;
    case 'S': return U_GC_SO_MASK;
    default: return U_GC_CF_MASK;
  }
}

// Lower case of the capital letters of Unicode 16 and 17, which ICU may not know yet.
char32_t young_lower(char32_t code) {
  if (code >= 0x10D50 && code <= 0x10D65) return code + 0x20;
  if (code >= 0x16EA0 && code <= 0x16EB8) return code + 0x1B;
  switch (code) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA: return code + 1;
    case 0xA7CB: return 0x264;
    case 0xA7DC: return 0x19B;
    default: return code;
  }
}

}  // namespace

void check_utf8(std::string_view text, std::string_view what) {
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t length = sequence_length(text, pos);
    check(length != 0, ExitCode::kInput,
          "{} is not valid UTF-8 at byte {} (a tokenizer needs Unicode text) convert the text to UTF-8", what, pos);
    pos += length;
  }
}

char32_t next_code_point(std::string_view text, std::size_t& pos) {
  const auto byte = [&] { return static_cast<char32_t>(static_cast<std::uint8_t>(text[pos++])); };
  const char32_t lead = byte();
  if (lead < 0x80) return lead;
  char32_t code = lead < 0xE0 ? lead & 0x1F : lead < 0xF0 ? lead & 0x0F : lead & 0x07;
  const int tails = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  for (int i = 0; i < tails; ++i) code = (code << 6) | (byte() & 0x3F);
  return code;
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3F));
    put(0x80 | ((code >> 6) & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool is_white_space(char32_t code) { return u_hasBinaryProperty(static_cast<UChar32>(code), UCHAR_WHITE_SPACE) != 0; }

bool is_numeric(char32_t code) {
  const bool unicode17 = (code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6);
  return unicode17 || (category_mask(code) & U_GC_N_MASK) != 0;
}

bool is_combining_mark(char32_t code) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(code), age);
  const bool was_mark = code == 0x1CF2 || code == 0x1CF3;  // marks until Unicode 12
  const bool became_mark = code == 0x111C9;                // punctuation until Unicode 11
  return was_mark || (!became_mark && (category_mask(code) & U_GC_M_MASK) != 0 && age[0] > 0 && age[0] <= 9);
}

bool is_punctuation(char32_t code) {
  const bool ascii_symbol = code < 0x80 && (category_mask(code) & U_GC_S_MASK) != 0;
  return ascii_symbol || (category_mask(code) & U_GC_P_MASK) != 0;
}

bool is_word_character(char32_t code) {
  const auto c = static_cast<UChar32>(code);
  return (category_mask(code) & (U_GC_L_MASK | U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

void append_lower(std::string& text, char32_t code) {
  // U+0130 is the only code point whose context-free lower case is two code points.
  if (code == 0x130) {
    text += "i\xCC\x87";
    return;
  }
  const auto lower = static_cast<char32_t>(u_tolower(static_cast<UChar32>(code)));
  append_utf8(text, lower != code ? lower : young_lower(code));
}

}  // namespace mpiquant
