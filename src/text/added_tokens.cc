#include "src/text/added_tokens.h"

#include <algorithm>
#include <utility>

#include "src/text/unicode.h"

namespace mpiquant {

namespace {

// Start of the last code point before `pos` > 0.
std::size_t step_back(std::string_view text, std::size_t pos) {
  do --pos;
  while (pos > 0 && (static_cast<unsigned char>(text[pos]) & 0xC0) == 0x80);
  return pos;
}

char32_t code_before(std::string_view text, std::size_t pos) {
  std::size_t at = step_back(text, pos);
  return next_code_point(text, at);
}

char32_t code_at(std::string_view text, std::size_t pos) { return next_code_point(text, pos); }

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  return (begin > 0 && is_word_character(code_before(text, begin))) ||
         (end < text.size() && is_word_character(code_at(text, end)));
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(const std::vector<AddedToken>& tokens, bool normalized, const Normalizer* normalizer) {
  for (const AddedToken& token : tokens) {
    if (token.normalized != normalized || token.content.empty()) continue;
    NormalizedText pattern{token.content};
    if (normalized && normalizer != nullptr) normalizer->apply(pattern);
    if (pattern.text.empty()) continue;
    insert(pattern.text, static_cast<std::int32_t>(tokens_.size()));
    tokens_.push_back(token);
  }
}

std::int32_t AddedTokenFinder::child(std::int32_t node, unsigned char byte) const {
  for (const auto& [label, target] : nodes_[static_cast<std::size_t>(node)].children)
    if (label == byte) return target;
  return -1;
}

void AddedTokenFinder::insert(const std::string& pattern, std::int32_t token) {
  std::int32_t node = 0;
  for (const char c : pattern) {
    const auto byte = static_cast<unsigned char>(c);
    std::int32_t next = child(node, byte);
    if (next < 0) {
      next = static_cast<std::int32_t>(nodes_.size());
      nodes_.emplace_back();
      nodes_[static_cast<std::size_t>(node)].children.emplace_back(byte, next);
    }
    node = next;
  }
  nodes_[static_cast<std::size_t>(node)].token = token;
}

AddedTokenFinder::Match AddedTokenFinder::longest_match(std::string_view text, std::size_t pos) const {
  Match match;
  std::int32_t node = 0;
  for (std::size_t i = pos; i < text.size(); ++i) {
    node = child(node, static_cast<unsigned char>(text[i]));
    if (node < 0) break;
    const std::int32_t token = nodes_[static_cast<std::size_t>(node)].token;
    if (token >= 0) match = {i + 1 - pos, token};
  }
  return match;
}

std::vector<TextPiece> AddedTokenFinder::split(std::string_view text) const {
  std::vector<TextPiece> pieces;
  const auto add_text = [&](std::size_t begin, std::size_t end) {
    if (begin < end) pieces.push_back({text.substr(begin, end - begin), begin, std::nullopt});
  };
  std::size_t covered = 0;
  for (std::size_t pos = 0; pos < text.size() && !tokens_.empty();) {
    const Match match = longest_match(text, pos);
    if (match.token < 0) {
      ++pos;
      continue;
    }
    std::size_t begin = pos;
    std::size_t end = pos + match.length;
    pos = end;
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
    if (token.single_word && touches_word(text, begin, end)) continue;
    if (token.lstrip)
      while (begin > covered && is_white_space(code_before(text, begin))) begin = step_back(text, begin);
    if (token.rstrip)
      while (end < text.size() && is_white_space(code_at(text, end))) next_code_point(text, end);
    // White space that the token before has swallowed is not swallowed again.
    begin = std::max(begin, std::min(covered, end));
    add_text(covered, begin);
    pieces.push_back({text.substr(begin, end - begin), begin, token.id});
    covered = end;
  }
  add_text(covered, text.size());
  return pieces;
}

}  // namespace mpiquant
