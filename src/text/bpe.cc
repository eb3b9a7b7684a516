#include "src/text/bpe.h"

#include <fmt/format.h>

#include <limits>
#include <queue>

#include "src/base/error.h"
#include "src/text/unicode.h"

namespace mpiquant {

namespace {

// Longer words are rare and seldom repeat.
constexpr std::size_t kCachedBytes = 256;
constexpr std::size_t kCachedWords = 1 << 17;

struct Candidate {
  std::int32_t rank;
  std::int32_t position;  // of the left symbol
  std::int32_t id;        // of the merged piece
};
struct Later {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

}  // namespace

Bpe::Bpe(BpeModel model) : model_(std::move(model)), byte_ids_(256) {
  const auto id_of = [&](std::string_view piece) {
    const auto found = model_.vocab.find(piece);
    check(found != model_.vocab.end(), ExitCode::kInput,
          "the tokenizer merges \"{}\", which its vocabulary lacks (the file is damaged)", piece);
    return found->second;
  };
  rules_.reserve(model_.merges.size());
  std::int32_t rank = 0;
  for (const auto& [left, right] : model_.merges) {
    const std::size_t prefix = model_.continuing_subword_prefix.size();
    check(right.size() >= prefix, ExitCode::kInput, "the tokenizer's merge \"{} {}\" lacks the prefix of continued words", left,
          right);
    rules_[pair_key(id_of(left), id_of(right))] = {rank++, id_of(left + right.substr(prefix))};
  }
  if (model_.unk_token) {
    const auto found = model_.vocab.find(*model_.unk_token);
    if (found != model_.vocab.end()) unk_ = found->second;
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto found = model_.vocab.find(fmt::format("<0x{:02X}>", byte));
    if (found != model_.vocab.end()) byte_ids_[byte] = found->second;
  }
}

const Bpe::MergeRule* Bpe::rule(std::int32_t left, std::int32_t right) const {
  const auto found = rules_.find(pair_key(left, right));
  return found == rules_.end() ? nullptr : &found->second;
}

bool Bpe::append_bytes(std::string_view character, std::vector<std::int32_t>& ids) const {
  for (const char c : character)
    if (!byte_ids_[static_cast<unsigned char>(c)]) return false;
  for (const char c : character) ids.push_back(*byte_ids_[static_cast<unsigned char>(c)]);
  return true;
}

std::vector<std::int32_t> Bpe::first_ids(std::string_view word) const {
  std::vector<std::int32_t> ids;
  ids.reserve(word.size());
  // An unknown token is held back until a known piece follows: bytes of a fallback in between do not release it.
  bool unknown = false;
  const auto release = [&] {
    if (unknown) ids.push_back(*unk_);
    unknown = false;
  };
  std::string decorated;
  for (std::size_t pos = 0; pos < word.size();) {
    const std::size_t begin = pos;
    next_code_point(word, pos);
    std::string_view character = word.substr(begin, pos - begin);
    const bool prefixed = begin > 0 && !model_.continuing_subword_prefix.empty();
    const bool suffixed = pos == word.size() && !model_.end_of_word_suffix.empty();
    if (prefixed || suffixed) {
      decorated = (prefixed ? model_.continuing_subword_prefix : std::string()) + std::string(character) +
                  (suffixed ? model_.end_of_word_suffix : std::string());
      character = decorated;
    }
    const auto found = model_.vocab.find(character);
    if (found != model_.vocab.end()) {
      release();
      ids.push_back(found->second);
    } else if (!(model_.byte_fallback && append_bytes(character, ids)) && model_.unk_token) {
      check(unk_.has_value(), ExitCode::kInput,
            "the tokenizer's unknown token \"{}\" is not in its vocabulary (it is needed for \"{}\")", *model_.unk_token,
            character);
      if (!model_.fuse_unk) release();
      unknown = true;
    }
  }
  release();
  return ids;
}

void Bpe::merge(std::vector<std::int32_t>& ids) const {
  const auto count = static_cast<std::int32_t>(ids.size());
  std::vector<Symbol> symbols;
  symbols.reserve(ids.size());
  for (std::int32_t i = 0; i < count; ++i)
    symbols.push_back({ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, true});
  const auto at = [&](std::int32_t position) -> Symbol& { return symbols[static_cast<std::size_t>(position)]; };

  std::vector<Candidate> first;
  first.reserve(ids.size());
  for (std::int32_t i = 0; i + 1 < count; ++i)
    if (const MergeRule* found = rule(at(i).id, at(i + 1).id)) first.push_back({found->rank, i, found->id});
  if (first.empty()) return;
  std::priority_queue<Candidate, std::vector<Candidate>, Later> queue(Later{}, std::move(first));
  const auto offer = [&](std::int32_t left, std::int32_t right) {
    if (const MergeRule* found = rule(at(left).id, at(right).id)) queue.push({found->rank, left, found->id});
  };

  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = at(top.position);
    if (!left.alive || left.next < 0) continue;
    // The pair may have changed since it was queued; it still counts if it makes the same piece.
    const MergeRule* now = rule(left.id, at(left.next).id);
    if (now == nullptr || now->id != top.id) continue;
    Symbol& right = at(left.next);
    right.alive = false;
    left.id = top.id;
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = top.position;
    if (left.previous >= 0) offer(left.previous, top.position);
    if (left.next >= 0) offer(top.position, left.next);
  }
  ids.clear();
  for (const Symbol& symbol : symbols)
    if (symbol.alive) ids.push_back(symbol.id);
}

void Bpe::encode(std::string_view word, Cache& cache, std::vector<std::int32_t>& ids) const {
  if (word.empty()) return;
  check(word.size() <= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()), ExitCode::kInput,
        "a word of {} bytes is too long for the tokenizer, cut the text into documents", word.size());
  if (model_.ignore_merges) {
    const auto found = model_.vocab.find(word);
    if (found != model_.vocab.end()) {
      ids.push_back(found->second);
      return;
    }
  }
  const auto cached = cache.find(word);
  if (cached != cache.end()) {
    ids.insert(ids.end(), cached->second.begin(), cached->second.end());
    return;
  }
  std::vector<std::int32_t> word_ids = first_ids(word);
  merge(word_ids);
  ids.insert(ids.end(), word_ids.begin(), word_ids.end());
  if (word.size() < kCachedBytes && cache.size() < kCachedWords) cache.emplace(word, std::move(word_ids));
}

}  // namespace mpiquant
