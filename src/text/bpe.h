#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mpiquant {

struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using PieceIds = std::unordered_map<std::string, std::int32_t, StringHash, std::equal_to<>>;

// The "model" of tokenizer.json, type BPE.
struct BpeModel {
  PieceIds vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // by rising rank
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;  // of every character of a word but the first
  std::string end_of_word_suffix;         // of the last character of a word
  bool fuse_unk = false;                  // consecutive unknown characters become one unknown token
  bool byte_fallback = false;             // unknown characters become <0xNN> pieces, if the vocabulary has them
  bool ignore_merges = false;             // a word that is a piece is taken whole
};

// Byte-pair encoding: merges neighbours of the lowest rank first, leftmost first among equals. O(n log n) in a word's length.
class Bpe {
 public:
  // Words seen by one caller and their ids; one for each text and thread.
  using Cache = std::unordered_map<std::string, std::vector<std::int32_t>, StringHash, std::equal_to<>>;

  // Merges whose pieces are not in the vocabulary are input errors.
  explicit Bpe(BpeModel model);

  // Appends the ids of one word (a pre-tokenized piece, valid UTF-8).
  void encode(std::string_view word, Cache& cache, std::vector<std::int32_t>& ids) const;

  const BpeModel& model() const { return model_; }

 private:
  struct MergeRule {
    std::int32_t rank;
    std::int32_t id;
  };
  struct Symbol {
    std::int32_t id;
    std::int32_t previous;
    std::int32_t next;  // -1: the last one
    bool alive;
  };

  const MergeRule* rule(std::int32_t left, std::int32_t right) const;
  std::vector<std::int32_t> first_ids(std::string_view word) const;
  bool append_bytes(std::string_view character, std::vector<std::int32_t>& ids) const;
  void merge(std::vector<std::int32_t>& ids) const;

  BpeModel model_;
  std::optional<std::int32_t> unk_;
  std::vector<std::optional<std::int32_t>> byte_ids_;   // 256 ids of <0xNN>
  std::unordered_map<std::uint64_t, MergeRule> rules_;  // (left id << 32 | right id)
};

}  // namespace mpiquant
