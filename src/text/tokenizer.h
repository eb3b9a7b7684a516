#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "src/text/post_processor.h"
#include "src/text/vocabulary.h"

namespace mpiquant {

// Text to token ids, equal to those of Hugging Face tokenizers. Safe to use from several threads.
class Tokenizer {
 public:
  // Reads DIR/tokenizer.json, else DIR/tokenizer.model, and the special tokens of DIR's configuration.
  // Errors (input): neither exists, a file is damaged, or it uses a part that is not known here, which is named.
  static std::unique_ptr<Tokenizer> load(const std::filesystem::path& dir);
  virtual ~Tokenizer();

  // Ids of `text`. Special tokens written in the text are recognized; `add_special_tokens` puts the post-processor's around it.
  // Invalid UTF-8 is an input error that names the byte offset.
  std::vector<std::int32_t> encode(std::string_view text, bool add_special_tokens) const;

  // Largest id + 1, added tokens included; the model's vocabulary may be larger.
  std::int64_t vocab_size() const { return static_cast<std::int64_t>(vocabulary_.pieces.size()); }
  std::optional<std::int32_t> bos_id() const { return vocabulary_.bos; }
  std::optional<std::int32_t> eos_id() const { return vocabulary_.eos; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // 32 hex digits that identify what decides about ids.
  const std::string& content_hash() const { return content_hash_; }

 protected:
  Tokenizer(Vocabulary vocabulary, PostProcessor post_processor, std::string content_hash);
  virtual void encode_text(std::string_view text, std::vector<std::int32_t>& ids) const = 0;

 private:
  Vocabulary vocabulary_;
  PostProcessor post_processor_;
  std::string content_hash_;
};

}  // namespace mpiquant
