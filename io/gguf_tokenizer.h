#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/gguf_special_tokens.h"

namespace mpiquant {

// A vocabulary in GGUF's terms (tokenizer.ggml.*), one entry for each row of the embeddings.
struct GgufTokenizer {
  enum Type : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

  std::string model;  // "gpt2": byte-level BPE; "llama": SentencePiece BPE
  std::string pre;    // how text is split
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;       // of enum Type
  std::vector<float> scores;             // "llama": the order of merging
  std::vector<std::string> merges;       // "gpt2": "left right"
  std::optional<bool> add_space_prefix;  // "llama"; nothing: its default, true
  GgufSpecialTokens special;
};

// From tokenizer.json (byte-level or SentencePiece-style BPE) and tokenizer.model of a repository. `rows`: embeddings; ids
// without a token become unused tokens [PADn]. `pre` names the pre-tokenizer, empty: found by table. Input errors: no tokenizer,
// another kind of tokenizer, two tokens of one text, more tokens than embeddings.
GgufTokenizer read_gguf_tokenizer(const std::string& model_dir, std::int64_t rows, const std::string& pre);

}  // namespace mpiquant
