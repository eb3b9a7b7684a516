#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/text/vocabulary.h"

namespace mpiquant {

// What a SentencePiece model file (protobuf ModelProto of sentencepiece_model.proto) says beyond what its library tells.
struct SpmModel {
  std::vector<std::string> pieces;  // by id
  std::vector<float> scores;
  std::vector<TokenType> types;
  TokenizerKind kind = TokenizerKind::kSentencePieceUnigram;
  bool add_dummy_prefix = true;
};

// Damaged bytes, and models that are neither BPE nor unigram, are input errors naming `what`.
SpmModel parse_spm_model(std::string_view bytes, std::string_view what);

}  // namespace mpiquant
