#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/json.h"

namespace mpiquant {

// A parsed tokenizer.json. The vocabulary is kept apart from `root`, whose objects are searched linearly.
struct TokenizerFile {
  Json root;                                                // without model.vocab
  std::vector<std::pair<std::string, std::int32_t>> vocab;  // pieces and ids of model.vocab
};

// Parses the text of a tokenizer.json; everything that is not JSON, repeats a key, or is not an id in model.vocab is an input
// error.
TokenizerFile parse_tokenizer_file(std::string_view text, std::string_view what);

}  // namespace mpiquant
