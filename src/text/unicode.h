#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mpiquant {

// Throws an input error naming `what` and the byte offset of the first byte that is not valid UTF-8.
void check_utf8(std::string_view text, std::string_view what);

// Decodes the code point at `pos` of valid UTF-8 and moves `pos` behind it.
char32_t next_code_point(std::string_view text, std::size_t& pos);
void append_utf8(std::string& text, char32_t code);

bool is_white_space(char32_t code);     // White_Space property
bool is_numeric(char32_t code);         // general category N*, in Unicode 17
bool is_combining_mark(char32_t code);  // general category M* in Unicode 9.0, as Hugging Face tokenizers knows it
bool is_punctuation(char32_t code);     // ASCII punctuation or general category P*
bool is_word_character(char32_t code);  // \w of UTS 18: Alphabetic, M*, Nd, Pc, Join_Control
// Full lower-case mapping of one code point, without context.
void append_lower(std::string& text, char32_t code);

}  // namespace mpiquant
