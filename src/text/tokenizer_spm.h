#pragma once

#include <filesystem>
#include <memory>

#include "src/text/tokenizer.h"

namespace mpiquant {

// Reads DIR/tokenizer.model (SentencePiece BPE or unigram) with the added tokens of tokenizer_config.json or added_tokens.json,
// and gives the ids that Transformers' Llama tokenizer gives: control pieces in the text are recognized, and a space is put
// before each piece of text between them ("legacy": before the first one only).
std::unique_ptr<Tokenizer> load_tokenizer_spm(const std::filesystem::path& dir);

}  // namespace mpiquant
