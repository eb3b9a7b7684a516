#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/json.h"

namespace mpiquant {

enum class TokenizerKind { kByteLevelBpe, kSentencePieceBpe, kSentencePieceUnigram };

// Values as in GGUF's tokenizer.ggml.token_type and SentencePiece's ModelProto.SentencePiece.Type.
enum class TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

// The raw vocabulary of a tokenizer, for writing it into other containers.
struct Vocabulary {
  TokenizerKind kind = TokenizerKind::kByteLevelBpe;
  std::vector<std::string> pieces;  // by id, added tokens included; empty where an id has no piece (type kUnused)
  std::vector<float> scores;        // by id; SentencePiece's, or minus the rank of the first merge that makes the piece, else 0
  std::vector<TokenType> types;     // by id
  std::vector<std::pair<std::string, std::string>> merges;  // by rising rank; empty for tokenizer.model
  Json normalizer;                                          // of tokenizer.json; null for tokenizer.model
  Json pre_tokenizer;                                       // of tokenizer.json; null for tokenizer.model
  bool add_bos = false;                                     // encoding with special tokens begins with BOS
  bool add_eos = false;                                     // … ends with EOS
  bool add_prefix_space = false;                            // a space is put before the text
  std::optional<std::int32_t> bos, eos, unk, pad;
};

}  // namespace mpiquant
