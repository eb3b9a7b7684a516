#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/text/normalizer.h"

namespace mpiquant {

// A token that is found in the text before the model sees it ("added_tokens" of tokenizer.json).
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // swallows white space on its left
  bool rstrip = false;       // swallows white space on its right
  bool normalized = false;   // looked for in normalized text, in its normalized form
};

// A piece of a text: an added token, or text between them that begins at byte `begin`.
struct TextPiece {
  std::string_view text;
  std::size_t begin = 0;
  std::optional<std::int32_t> token;
};

// Finds a set of added tokens in a text: leftmost first, of those the longest.
class AddedTokenFinder {
 public:
  // Looks for the tokens whose `normalized` equals the argument, in the form that `normalizer` (may be null) gives them if it is
  // set.
  AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer* normalizer);

  // Splits text into pieces, in order; text pieces are not empty. The views are into `text`.
  std::vector<TextPiece> split(std::string_view text) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, std::int32_t>> children;
    std::int32_t token = -1;  // index into tokens_
  };
  struct Match {
    std::size_t length = 0;
    std::int32_t token = -1;
  };

  void insert(const std::string& pattern, std::int32_t token);
  std::int32_t child(std::int32_t node, unsigned char byte) const;
  Match longest_match(std::string_view text, std::size_t pos) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_{1};
};

}  // namespace mpiquant
