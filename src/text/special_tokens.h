#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "src/text/vocabulary.h"

namespace mpiquant {

// What tokenizer_config.json, else special_tokens_map.json, says of a tokenizer; all of it optional.
struct SpecialTokens {
  std::optional<std::string> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos;
  bool legacy = true;  // SentencePiece: a space is put before every piece of text between special tokens, not only the first
};

// Files that are absent say nothing; damaged ones are input errors.
SpecialTokens read_special_tokens(const std::filesystem::path& dir);

// Sets the ids of the tokens that are named and that the vocabulary has.
void place_special_tokens(const SpecialTokens& special, Vocabulary& vocabulary);

}  // namespace mpiquant
