#include "src/text/normalizer.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/text/byte_alphabet.h"
#include "src/text/pattern.h"
#include "src/text/unicode.h"

namespace mpiquant {

namespace {

// A Unicode normalization form of the characters of Unicode 9.0: Hugging Face tokenizers leaves younger ones as they are.
class Form final : public Normalizer {
 public:
  Form(const char* data, UNormalization2Mode mode) {
    UErrorCode status = U_ZERO_ERROR;
    known_ = icu::UnicodeSet(u"[:age=9.0:]", status);
    known_.freeze();
    const icu::Normalizer2* form = icu::Normalizer2::getInstance(nullptr, data, mode, status);
    check(U_SUCCESS(status), ExitCode::kEnvironment, "ICU has no normalization data: {}", u_errorName(status));
    form_ = std::make_unique<icu::FilteredNormalizer2>(*form, known_);
  }
  void apply(NormalizedText& text) const override {
    std::string result;
    icu::StringByteSink<std::string> sink(&result);
    UErrorCode status = U_ZERO_ERROR;
    const icu::StringPiece source(text.text.data(), static_cast<std::int32_t>(text.text.size()));
    form_->normalizeUTF8(0, source, sink, nullptr, status);
    check(U_SUCCESS(status), ExitCode::kInput, "the text could not be normalized: {}", u_errorName(status));
    text.text = std::move(result);
  }

 private:
  icu::UnicodeSet known_;
  std::unique_ptr<icu::FilteredNormalizer2> form_;
};

// Drops or rewrites code points one by one: `rewrite` appends what becomes of a code point.
class ByCodePoint final : public Normalizer {
 public:
  explicit ByCodePoint(void (*rewrite)(std::string&, char32_t)) : rewrite_(rewrite) {}
  void apply(NormalizedText& text) const override {
    std::string result;
    result.reserve(text.text.size());
    for (std::size_t pos = 0; pos < text.text.size();) {
      const bool first = pos == 0;
      rewrite_(result, next_code_point(text.text, pos));
      if (first && result.empty()) text.front_kept = false;
    }
    text.text = std::move(result);
  }

 private:
  void (*rewrite_)(std::string&, char32_t);
};

void strip_mark(std::string& text, char32_t code) {
  if (!is_combining_mark(code)) append_utf8(text, code);
}

// The character part of SentencePiece's nmt rules: control characters go, unusual spaces become spaces.
void nmt(std::string& text, char32_t code) {
  const bool dropped = (code >= 0x01 && code <= 0x08) || code == 0x0B || (code >= 0x0E && code <= 0x1F) || code == 0x7F ||
                       code == 0x8F || code == 0x9F;
  if (dropped) return;
  const bool space = code == 0x09 || code == 0x0A || code == 0x0C || code == 0x0D || code == 0x1680 ||
                     (code >= 0x200B && code <= 0x200F) || code == 0x2028 || code == 0x2029 || code == 0x2581 || code == 0xFEFF ||
                     code == 0xFFFD;
  append_utf8(text, space ? U' ' : code);
}

class ToByteAlphabet final : public Normalizer {
 public:
  void apply(NormalizedText& text) const override { text.text = bytes_to_pieces(text.text); }
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(NormalizedText& text) const override {
    if (!text.text.empty()) text.text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(NormalizedText& text) const override {
    std::string result;
    result.reserve(text.text.size());
    for (const MatchRange& range : pattern_.find_matches(text.text)) {
      if (range.match) {
        result += content_;
        if (range.begin == 0 && content_.empty()) text.front_kept = false;
      } else {
        result.append(text.text, range.begin, range.end - range.begin);
      }
    }
    text.text = std::move(result);
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void apply(NormalizedText& text) const override {
    std::size_t begin = text.text.size();
    std::size_t end = 0;
    for (std::size_t pos = 0; pos < text.text.size();) {
      const std::size_t at = pos;
      if (is_white_space(next_code_point(text.text, pos))) continue;
      begin = std::min(begin, at);
      end = pos;
    }
    if (right_) text.text.resize(end);
    if (left_ && begin > 0) {
      text.text.erase(0, std::min(begin, text.text.size()));
      text.front_kept = false;
    }
  }

 private:
  bool left_;
  bool right_;
};

class NormalizerSequence final : public Normalizer {
 public:
  explicit NormalizerSequence(const Json& steps) {
    for (const Json& step : steps)
      if (auto normalizer = make_normalizer(step)) steps_.push_back(std::move(normalizer));
  }
  void apply(NormalizedText& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

using Factory = std::unique_ptr<Normalizer> (*)(const Json&);

constexpr std::array<std::pair<std::string_view, Factory>, 12> kNormalizers{{
    {"NFC", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<Form>("nfc", UNORM2_COMPOSE); }},
    {"NFD", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<Form>("nfc", UNORM2_DECOMPOSE); }},
    {"NFKC", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<Form>("nfkc", UNORM2_COMPOSE); }},
    {"NFKD", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<Form>("nfkc", UNORM2_DECOMPOSE); }},
    {"Lowercase", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<ByCodePoint>(append_lower); }},
    {"StripAccents", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<ByCodePoint>(strip_mark); }},
    {"Nmt", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<ByCodePoint>(nmt); }},
    {"ByteLevel", [](const Json&) -> std::unique_ptr<Normalizer> { return std::make_unique<ToByteAlphabet>(); }},
    {"Prepend",
     [](const Json& d) -> std::unique_ptr<Normalizer> { return std::make_unique<Prepend>(d.at("prepend").get<std::string>()); }},
    {"Replace",
     [](const Json& d) -> std::unique_ptr<Normalizer> {
       return std::make_unique<Replace>(Pattern(d.at("pattern")), d.at("content").get<std::string>());
     }},
    {"Strip",
     [](const Json& d) -> std::unique_ptr<Normalizer> {
       return std::make_unique<Strip>(d.at("strip_left").get<bool>(), d.at("strip_right").get<bool>());
     }},
    {"Sequence",
     [](const Json& d) -> std::unique_ptr<Normalizer> { return std::make_unique<NormalizerSequence>(d.at("normalizers")); }},
}};

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const Json& description) {
  if (description.is_null()) return nullptr;
  const auto type = description.at("type").get<std::string>();
  for (const auto& [name, make] : kNormalizers)
    if (type == name) return make(description);
  fail(ExitCode::kInput, "the tokenizer has a normalizer of the unknown type \"{}\" (its token ids cannot be reproduced)", type);
}

}  // namespace mpiquant
