#pragma once

#include <string>

namespace mpiquant {

// Rewrites a regular expression of Oniguruma's Ruby syntax, which Hugging Face tokenizers compiles, for PCRE2 with Unicode
// properties: character types become the sets that Oniguruma gives them, in Unicode 16. What has no exact counterpart is an
// input error that names the construct.
std::string oniguruma_to_pcre2(const std::string& pattern);

}  // namespace mpiquant
