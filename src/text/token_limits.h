#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace mpiquant {

// What a model takes.
struct TokenLimits {
  std::int64_t vocab = 0;    // rows of the embedding
  std::int64_t context = 0;  // longest sequence; 0: not known
};

std::int64_t count_tokens(const std::vector<std::vector<std::int32_t>>& samples);

// Throws an input error unless every sample has tokens, none more than the model's context, all of its vocabulary.
void check_tokens(const std::vector<std::vector<std::int32_t>>& samples, const TokenLimits& limits, std::string_view what);

}  // namespace mpiquant
