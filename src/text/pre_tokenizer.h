#pragma once

#include <memory>
#include <string_view>

#include "src/base/json.h"
#include "src/text/split.h"

namespace mpiquant {

// Splits normalized text into the words that the model merges within (the "pre_tokenizer" of tokenizer.json).
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Passes the non-empty pieces of `text` on in order. `at_start`: the text begins where the whole input begins.
  virtual void apply(std::string_view text, bool at_start, const PieceSink& sink) const = 0;
};

// Builds the pre-tokenizer that tokenizer.json describes; null gives nullptr, unknown types are input errors.
std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& description);

}  // namespace mpiquant
