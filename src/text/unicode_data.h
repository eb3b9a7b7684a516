#pragma once

#include <span>
#include <string_view>

namespace mpiquant {

struct CodeRange {
  char32_t first;
  char32_t last;
  std::string_view category;  // general category, two letters; empty where it does not matter
};

// Code points that Unicode 15.0, 15.1 and 16.0 added to Unicode 14, which the libraries in use may not know yet; Hugging Face
// tokenizers does. Sorted. Source: DerivedGeneralCategory.txt of the Unicode Character Database 16.0.
std::span<const CodeRange> unicode_additions();

// The two letters of the general category of an added code point, empty for all others.
std::string_view added_category(char32_t code);

// Code points of the script Han (Scripts.txt of Unicode 16.0). Sorted.
std::span<const CodeRange> han_script();

}  // namespace mpiquant
