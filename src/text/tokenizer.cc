#include "src/text/tokenizer.h"

#include <utility>

#include "src/base/error.h"
#include "src/text/tokenizer_json.h"
#include "src/text/tokenizer_spm.h"
#include "src/text/unicode.h"

namespace mpiquant {

Tokenizer::Tokenizer(Vocabulary vocabulary, PostProcessor post_processor, std::string content_hash)
    : vocabulary_(std::move(vocabulary)), post_processor_(std::move(post_processor)), content_hash_(std::move(content_hash)) {}

Tokenizer::~Tokenizer() = default;

std::unique_ptr<Tokenizer> Tokenizer::load(const std::filesystem::path& dir) {
  if (std::filesystem::exists(dir / "tokenizer.json")) return load_tokenizer_json(dir);
  if (std::filesystem::exists(dir / "tokenizer.model")) return load_tokenizer_spm(dir);
  fail(ExitCode::kInput,
       "{} has no tokenizer.json and no tokenizer.model (text cannot be turned into token ids) add one, or give token ids",
       dir.string());
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  check_utf8(text, "the text");
  std::vector<std::int32_t> ids;
  const auto& [prefix, suffix] = post_processor_;
  if (add_special_tokens) ids.insert(ids.end(), prefix.begin(), prefix.end());
  encode_text(text, ids);
  if (add_special_tokens) ids.insert(ids.end(), suffix.begin(), suffix.end());
  return ids;
}

}  // namespace mpiquant
