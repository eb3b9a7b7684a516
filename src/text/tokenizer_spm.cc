#include "src/text/tokenizer_spm.h"

#include <sentencepiece_processor.h>

#include <charconv>
#include <utility>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/token_id.h"
#include "src/text/added_tokens.h"
#include "src/text/special_tokens.h"
#include "src/text/spm_model.h"

namespace mpiquant {

namespace {

using sentencepiece::SentencePieceProcessor;

// Fields of a protobuf message that occurs again are merged: this appended NormalizerSpec says only add_dummy_prefix = false.
constexpr std::string_view kNoPrefix("\x1a\x02\x18\x00", 4);

class SpmTokenizer final : public Tokenizer {
 public:
  SpmTokenizer(const std::string& bytes, const std::vector<AddedToken>& added, bool legacy, Vocabulary vocabulary,
               PostProcessor post_processor, std::string hash)
      : Tokenizer(std::move(vocabulary), std::move(post_processor), std::move(hash)),
        tokens_(added, false, nullptr),
        legacy_(legacy) {
    load(front_, bytes);
    load(inner_, legacy ? bytes : bytes + std::string(kNoPrefix));
  }

 protected:
  void encode_text(std::string_view text, std::vector<std::int32_t>& ids) const override {
    for (const TextPiece& piece : tokens_.split(text)) {
      if (piece.token) {
        ids.push_back(*piece.token);
        continue;
      }
      std::vector<int> part;
      const SentencePieceProcessor& processor = legacy_ || piece.begin == 0 ? front_ : inner_;
      const auto status = processor.Encode(absl::string_view(piece.text.data(), piece.text.size()), &part);
      check(status.ok(), ExitCode::kInput, "the text could not be tokenized: {}", status.ToString());
      ids.insert(ids.end(), part.begin(), part.end());
    }
  }

 private:
  static void load(SentencePieceProcessor& processor, const std::string& bytes) {
    const auto status = processor.LoadFromSerializedProto(absl::string_view(bytes.data(), bytes.size()));
    check(status.ok(), ExitCode::kInput, "it is not a SentencePiece model: {}", status.ToString());
  }

  AddedTokenFinder tokens_;
  bool legacy_;
  SentencePieceProcessor front_;  // of text at the front of the input
  SentencePieceProcessor inner_;  // of text behind a special token
};

bool flag(const Json& object, const char* name) { return object.contains(name) && object.at(name).get<bool>(); }

// Tokens beside the model's pieces, or in place of them: those that the configuration names, and control and unknown pieces.
std::vector<AddedToken> read_added_tokens(const std::filesystem::path& dir, const SpmModel& model) {
  std::vector<AddedToken> tokens;
  const auto add = [&](AddedToken token) {
    std::erase_if(tokens, [&](const AddedToken& other) { return other.content == token.content; });
    tokens.push_back(std::move(token));
  };
  for (std::size_t id = 0; id < model.pieces.size(); ++id)
    if (model.types[id] == TokenType::kControl || model.types[id] == TokenType::kUnknown)
      add({.id = static_cast<std::int32_t>(id), .content = model.pieces[id], .special = true});
  const std::filesystem::path plain = dir / "added_tokens.json";
  if (std::filesystem::exists(plain)) {
    const Json listed = parse_json(read_text_file(plain.string()), plain.string());
    for (const auto& [content, id] : listed.items()) add({.id = token_id(id), .content = content});
  }
  const std::filesystem::path config_path = dir / "tokenizer_config.json";
  if (!std::filesystem::exists(config_path)) return tokens;
  const Json config = parse_json(read_text_file(config_path.string()), config_path.string());
  if (!config.contains("added_tokens_decoder")) return tokens;
  for (const auto& [key, entry] : config.at("added_tokens_decoder").items()) {
    std::int32_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    check(error == std::errc() && end == key.data() + key.size(), ExitCode::kInput, "added_tokens_decoder has the id \"{}\"",
          key);
    add({.id = id,
         .content = entry.at("content").get<std::string>(),
         .special = flag(entry, "special"),
         .single_word = flag(entry, "single_word"),
         .lstrip = flag(entry, "lstrip"),
         .rstrip = flag(entry, "rstrip")});
  }
  return tokens;
}

Vocabulary make_vocabulary(const SpmModel& model, const std::vector<AddedToken>& added) {
  Vocabulary vocabulary;
  vocabulary.kind = model.kind;
  vocabulary.pieces = model.pieces;
  vocabulary.scores = model.scores;
  vocabulary.types = model.types;
  vocabulary.add_prefix_space = model.add_dummy_prefix;
  for (const AddedToken& token : added) {
    const std::size_t limit = model.pieces.size() + added.size() + (1U << 16);
    check(token.id >= 0 && static_cast<std::size_t>(token.id) < limit, ExitCode::kInput,
          "the added token \"{}\" has the id {} (the model has {} pieces)", token.content, token.id, model.pieces.size());
    const auto at = static_cast<std::size_t>(token.id);
    if (at >= vocabulary.pieces.size()) {
      vocabulary.pieces.resize(at + 1);
      vocabulary.scores.resize(at + 1, 0.0F);
      vocabulary.types.resize(at + 1, TokenType::kUnused);
    }
    vocabulary.pieces[at] = token.content;
    if (at < model.pieces.size()) continue;
    vocabulary.scores[at] = -1000.0F;  // as llama.cpp's converter has it: never the result of a merge
    vocabulary.types[at] = token.special ? TokenType::kControl : TokenType::kUserDefined;
  }
  return vocabulary;
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_spm(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / "tokenizer.model";
  const std::string bytes = read_text_file(path.string());
  const SpmModel model = parse_spm_model(bytes, path.string());
  try {
    const SpecialTokens special = read_special_tokens(dir);
    const std::vector<AddedToken> added = read_added_tokens(dir, model);
    Vocabulary vocabulary = make_vocabulary(model, added);
    SentencePieceProcessor processor;
    const auto status = processor.LoadFromSerializedProto(absl::string_view(bytes.data(), bytes.size()));
    check(status.ok(), ExitCode::kInput, "it is not a SentencePiece model: {}", status.ToString());
    const auto own = [](int id) { return id < 0 ? std::nullopt : std::optional<std::int32_t>(id); };
    place_special_tokens(special, vocabulary);
    if (!vocabulary.bos) vocabulary.bos = own(processor.bos_id());
    if (!vocabulary.eos) vocabulary.eos = own(processor.eos_id());
    if (!vocabulary.unk) vocabulary.unk = own(processor.unk_id());
    if (!vocabulary.pad) vocabulary.pad = own(processor.pad_id());
    vocabulary.add_bos = vocabulary.bos && special.add_bos.value_or(true);
    vocabulary.add_eos = vocabulary.eos && special.add_eos.value_or(false);
    PostProcessor post_processor;
    if (vocabulary.add_bos) post_processor.prefix.push_back(*vocabulary.bos);
    if (vocabulary.add_eos) post_processor.suffix.push_back(*vocabulary.eos);
    std::string identity =
        fmt::format("tokenizer.model {} {} {} ", special.legacy, vocabulary.bos.value_or(-1), vocabulary.eos.value_or(-1));
    for (const AddedToken& token : added)
      identity += fmt::format("{} {}{}{} {} ", token.id, token.single_word, token.lstrip, token.rstrip, token.content);
    return std::make_unique<SpmTokenizer>(bytes, added, special.legacy, std::move(vocabulary), std::move(post_processor),
                                          xxh3_hex(identity + bytes));
  } catch (const nlohmann::json::exception& e) {
    fail(ExitCode::kInput, "{} has a part that is missing or of the wrong type: {}", dir.string(), e.what());
  } catch (const Error& e) {
    fail(e.code(), "{}: {}", path.string(), e.what());
  }
}

}  // namespace mpiquant
