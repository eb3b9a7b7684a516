#include "src/text/pre_tokenizer.h"

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/text/byte_alphabet.h"
#include "src/text/pattern.h"
#include "src/text/regex.h"
#include "src/text/unicode.h"

namespace mpiquant {

namespace {

// GPT-2's expression (openai/gpt-2, src/encoder.py).
constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, bool use_regex) : add_prefix_space_(add_prefix_space) {
    if (use_regex) regex_.emplace(kGpt2);
  }
  void apply(std::string_view text, bool at_start, const PieceSink& sink) const override {
    std::string prefixed;
    if (add_prefix_space_ && !text.starts_with(' ')) {
      prefixed.append(" ").append(text);
      text = prefixed;
    }
    const PieceSink map = [&](std::string_view piece, bool start) { sink(bytes_to_pieces(piece), start); };
    if (regex_) {
      split_text(text, at_start, regex_->find_matches(text), SplitBehavior::kIsolated, map);
    } else if (!text.empty()) {
      map(text, at_start);
    }
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> regex_;
};

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void apply(std::string_view text, bool at_start, const PieceSink& sink) const override {
    std::vector<MatchRange> ranges = pattern_.find_matches(text);
    if (invert_)
      for (MatchRange& range : ranges) range.match = !range.match;
    split_text(text, at_start, ranges, behavior_, sink);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

// Splits by a property of single code points.
class ByProperty final : public PreTokenizer {
 public:
  ByProperty(bool (*predicate)(char32_t), SplitBehavior behavior) : predicate_(predicate), behavior_(behavior) {}
  void apply(std::string_view text, bool at_start, const PieceSink& sink) const override {
    split_text(text, at_start, match_code_points(text, predicate_), behavior_, sink);
  }

 private:
  bool (*predicate_)(char32_t);
  SplitBehavior behavior_;
};

// Runs of word characters and runs of other visible characters; white space is dropped.
class Whitespace final : public PreTokenizer {
 public:
  void apply(std::string_view text, bool at_start, const PieceSink& sink) const override {
    enum class Kind { kSpace, kWord, kOther };
    std::size_t begin = 0;
    Kind run = Kind::kSpace;
    const auto flush = [&](std::size_t end) {
      if (run != Kind::kSpace && begin < end) sink(text.substr(begin, end - begin), at_start && begin == 0);
    };
    for (std::size_t pos = 0; pos < text.size();) {
      const std::size_t at = pos;
      const char32_t code = next_code_point(text, pos);
      const Kind kind = is_word_character(code) ? Kind::kWord : is_white_space(code) ? Kind::kSpace : Kind::kOther;
      if (kind == run) continue;
      flush(at);
      begin = at;
      run = kind;
    }
    flush(text.size());
  }
};

enum class PrependScheme { kAlways, kFirst, kNever };

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}
  void apply(std::string_view text, bool at_start, const PieceSink& sink) const override {
    std::string result;
    result.reserve(text.size() + text.size() / 2);
    for (const char c : text) {
      if (c == ' ') {
        result += replacement_;
      } else {
        result += c;
      }
    }
    const bool prepend = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && at_start);
    if (prepend && !result.starts_with(replacement_)) result.insert(0, replacement_);
    if (split_) {
      split_at(result, at_start, sink);
    } else if (!result.empty()) {
      sink(result, at_start);
    }
  }

 private:
  void split_at(std::string_view text, bool at_start, const PieceSink& sink) const {
    std::vector<MatchRange> ranges;
    std::size_t last = 0;
    for (std::size_t at = text.find(replacement_); at != std::string_view::npos; at = text.find(replacement_, last)) {
      if (last < at) ranges.push_back({last, at, false});
      last = at + replacement_.size();
      ranges.push_back({at, last, true});
    }
    if (last < text.size()) ranges.push_back({last, text.size(), false});
    split_text(text, at_start, ranges, SplitBehavior::kMergedWithNext, sink);
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

class PreTokenizerSequence final : public PreTokenizer {
 public:
  explicit PreTokenizerSequence(const Json& steps) {
    for (const Json& step : steps)
      if (auto splitter = make_pre_tokenizer(step)) steps_.push_back(std::move(splitter));
  }
  void apply(std::string_view text, bool at_start, const PieceSink& sink) const override { run(0, text, at_start, sink); }

 private:
  void run(std::size_t step, std::string_view text, bool at_start, const PieceSink& sink) const {
    if (step == steps_.size()) {
      if (!text.empty()) sink(text, at_start);
      return;
    }
    const PieceSink next = [&](std::string_view piece, bool start) { run(step + 1, piece, start, sink); };
    steps_[step]->apply(text, at_start, next);
  }

  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

std::unique_ptr<PreTokenizer> make_byte_level(const Json& d) {
  return std::make_unique<ByteLevel>(d.value("add_prefix_space", true), d.value("use_regex", true));
}

std::unique_ptr<PreTokenizer> make_split(const Json& d) {
  return std::make_unique<Split>(Pattern(d.at("pattern")), split_behavior(d.at("behavior").get<std::string>()),
                                 d.at("invert").get<bool>());
}

std::unique_ptr<PreTokenizer> make_metaspace(const Json& d) {
  const auto name = d.value("prepend_scheme", std::string("always"));
  const bool known = name == "always" || name == "first" || name == "never";
  check(known, ExitCode::kInput, "the tokenizer's Metaspace has the unknown prepend_scheme \"{}\"", name);
  const auto scheme = name == "always" ? PrependScheme::kAlways : name == "first" ? PrependScheme::kFirst : PrependScheme::kNever;
  // Files from before prepend_scheme existed have add_prefix_space.
  const bool contradicts = d.contains("add_prefix_space") && !d.at("add_prefix_space").is_null() &&
                           !d.at("add_prefix_space").get<bool>() && scheme != PrependScheme::kNever;
  check(!contradicts || !d.contains("prepend_scheme"), ExitCode::kInput,
        "the tokenizer's Metaspace has add_prefix_space false and prepend_scheme \"{}\" (they contradict each other)", name);
  const bool split = !d.contains("split") || d.at("split").is_null() || d.at("split").get<bool>();
  return std::make_unique<Metaspace>(d.at("replacement").get<std::string>(), contradicts ? PrependScheme::kNever : scheme, split);
}

std::unique_ptr<PreTokenizer> make_digits(const Json& d) {
  const bool single = d.at("individual_digits").get<bool>();
  return std::make_unique<ByProperty>(is_numeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
}

using Factory = std::unique_ptr<PreTokenizer> (*)(const Json&);

constexpr std::array<std::pair<std::string_view, Factory>, 8> kPreTokenizers{{
    {"ByteLevel", make_byte_level},
    {"Split", make_split},
    {"Metaspace", make_metaspace},
    {"Digits", make_digits},
    {"Punctuation",
     [](const Json& d) -> std::unique_ptr<PreTokenizer> {
       return std::make_unique<ByProperty>(is_punctuation, split_behavior(d.value("behavior", std::string("Isolated"))));
     }},
    {"Whitespace", [](const Json&) -> std::unique_ptr<PreTokenizer> { return std::make_unique<Whitespace>(); }},
    {"WhitespaceSplit",
     [](const Json&) -> std::unique_ptr<PreTokenizer> {
       return std::make_unique<ByProperty>(is_white_space, SplitBehavior::kRemoved);
     }},
    {"Sequence",
     [](const Json& d) -> std::unique_ptr<PreTokenizer> {
       return std::make_unique<PreTokenizerSequence>(d.at("pretokenizers"));
     }},
}};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& description) {
  if (description.is_null()) return nullptr;
  const auto type = description.at("type").get<std::string>();
  for (const auto& [name, make] : kPreTokenizers)
    if (type == name) return make(description);
  fail(ExitCode::kInput, "the tokenizer has a pre-tokenizer of the unknown type \"{}\" (its token ids cannot be reproduced)",
       type);
}

}  // namespace mpiquant
