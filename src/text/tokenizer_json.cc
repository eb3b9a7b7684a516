#include "src/text/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/token_id.h"
#include "src/text/added_tokens.h"
#include "src/text/bpe.h"
#include "src/text/normalizer.h"
#include "src/text/pre_tokenizer.h"
#include "src/text/special_tokens.h"
#include "src/text/spm_model.h"
#include "src/text/tokenizer_file.h"

namespace mpiquant {

namespace {

// The stages a text passes, in this order.
struct Stages {
  std::unique_ptr<Normalizer> normalizer;
  std::vector<AddedToken> added;
  std::unique_ptr<PreTokenizer> pre_tokenizer;
  Bpe bpe;
};

class JsonTokenizer final : public Tokenizer {
 public:
  JsonTokenizer(Stages stages, Vocabulary vocabulary, PostProcessor post_processor, std::string hash)
      : Tokenizer(std::move(vocabulary), std::move(post_processor), std::move(hash)),
        stages_(std::move(stages)),
        raw_tokens_(stages_.added, false, nullptr),
        normalized_tokens_(stages_.added, true, stages_.normalizer.get()) {}

 protected:
  void encode_text(std::string_view text, std::vector<std::int32_t>& ids) const override {
    Bpe::Cache cache;
    for (const TextPiece& piece : raw_tokens_.split(text)) {
      if (piece.token) {
        ids.push_back(*piece.token);
        continue;
      }
      NormalizedText normalized{std::string(piece.text)};
      if (stages_.normalizer) stages_.normalizer->apply(normalized);
      const bool front = piece.begin == 0 && normalized.front_kept;
      for (const TextPiece& part : normalized_tokens_.split(normalized.text)) {
        if (part.token) {
          ids.push_back(*part.token);
        } else {
          encode_words(part.text, front && part.begin == 0, cache, ids);
        }
      }
    }
  }

 private:
  void encode_words(std::string_view text, bool at_start, Bpe::Cache& cache, std::vector<std::int32_t>& ids) const {
    const PieceSink sink = [&](std::string_view word, bool) { stages_.bpe.encode(word, cache, ids); };
    if (stages_.pre_tokenizer) {
      stages_.pre_tokenizer->apply(text, at_start, sink);
    } else {
      sink(text, at_start);
    }
  }

  Stages stages_;
  AddedTokenFinder raw_tokens_;
  AddedTokenFinder normalized_tokens_;
};

std::pair<std::string, std::string> read_merge(const Json& merge) {
  if (merge.is_array() && merge.size() == 2) return {merge.at(0).get<std::string>(), merge.at(1).get<std::string>()};
  check(merge.is_string(), ExitCode::kInput, "the tokenizer has a merge that is not two pieces: {}", merge.dump());
  const auto& text = merge.get_ref<const std::string&>();
  const std::size_t space = text.find(' ');
  check(space != std::string::npos && text.find(' ', space + 1) == std::string::npos, ExitCode::kInput,
        "the tokenizer has a merge that is not two pieces: \"{}\"", text);
  return {text.substr(0, space), text.substr(space + 1)};
}

std::string optional_string(const Json& object, const char* name) {
  return object.contains(name) && object.at(name).is_string() ? object.at(name).get<std::string>() : std::string();
}

bool optional_flag(const Json& object, const char* name) {
  return object.contains(name) && object.at(name).is_boolean() && object.at(name).get<bool>();
}

BpeModel read_model(TokenizerFile& file) {
  const Json& description = file.root.at("model");
  // Files from before the type was written are BPE if they have merges.
  const std::string type = description.contains("type") ? description.at("type").get<std::string>() : "BPE";
  check(type == "BPE" && description.contains("merges"), ExitCode::kInput,
        "the tokenizer's model is of the type \"{}\" (only BPE is supported) give tokenizer.model instead if there is one", type);
  const bool dropout =
      description.contains("dropout") && !description.at("dropout").is_null() && description.at("dropout").get<double>() != 0;
  check(!dropout, ExitCode::kInput,
        "the tokenizer drops merges at random (\"dropout\"; its ids are not reproducible) set it to null");
  BpeModel model;
  model.continuing_subword_prefix = optional_string(description, "continuing_subword_prefix");
  model.end_of_word_suffix = optional_string(description, "end_of_word_suffix");
  model.fuse_unk = optional_flag(description, "fuse_unk");
  model.byte_fallback = optional_flag(description, "byte_fallback");
  model.ignore_merges = optional_flag(description, "ignore_merges");
  if (description.contains("unk_token") && description.at("unk_token").is_string())
    model.unk_token = description.at("unk_token").get<std::string>();
  const Json& merges = description.at("merges");
  model.merges.reserve(merges.size());
  for (const Json& merge : merges)
    if (!merge.is_string() || !merge.get_ref<const std::string&>().starts_with("#version"))
      model.merges.push_back(read_merge(merge));
  model.vocab.reserve(file.vocab.size());
  for (auto& [piece, id] : file.vocab) model.vocab.emplace(piece, id);
  return model;
}

// Ids are given as Hugging Face tokenizers gives them: the model's if it knows the piece, else the next free one.
std::vector<AddedToken> read_added_tokens(const Json& root, const PieceIds& vocab) {
  std::vector<AddedToken> tokens;
  if (!root.contains("added_tokens")) return tokens;
  PieceIds seen;
  auto next = static_cast<std::int32_t>(vocab.size());
  for (const Json& entry : root.at("added_tokens")) {
    AddedToken token;
    token.content = entry.at("content").get<std::string>();
    if (token.content.empty()) continue;
    token.special = optional_flag(entry, "special");
    token.single_word = optional_flag(entry, "single_word");
    token.lstrip = optional_flag(entry, "lstrip");
    token.rstrip = optional_flag(entry, "rstrip");
    token.normalized = entry.contains("normalized") ? entry.at("normalized").get<bool>() : true;
    const auto known = vocab.find(token.content);
    const auto repeated = seen.find(token.content);
    token.id = known != vocab.end() ? known->second : repeated != seen.end() ? repeated->second : next++;
    const std::int32_t written = token_id(entry.at("id"));
    if (token.id != written)
      warn_line("added token \"{}\" has the id {} in tokenizer.json, Hugging Face tokenizers gives it {}: that one is used",
                token.content, written, token.id);
    seen.emplace(token.content, token.id);
    std::erase_if(tokens, [&](const AddedToken& other) { return other.id == token.id; });
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// Whether a "type" occurs anywhere in a description.
bool mentions_type(const Json& description, std::string_view type) {
  if (description.is_object() && description.contains("type") && description.at("type") == type) return true;
  return description.is_structured() &&
         std::any_of(description.begin(), description.end(), [&](const Json& part) { return mentions_type(part, type); });
}

bool adds_prefix_space(const Json& normalizer, const Json& pre_tokenizer) {
  if (mentions_type(normalizer, "Prepend")) return true;
  if (pre_tokenizer.is_object() && pre_tokenizer.value("type", "") == "Metaspace")
    return pre_tokenizer.value("prepend_scheme", "always") != "never";
  if (pre_tokenizer.is_object() && pre_tokenizer.value("type", "") == "ByteLevel")
    return pre_tokenizer.value("add_prefix_space", true);
  if (pre_tokenizer.is_object() && pre_tokenizer.value("type", "") == "Sequence") {
    const Json& steps = pre_tokenizer.at("pretokenizers");
    return std::any_of(steps.begin(), steps.end(), [](const Json& step) { return adds_prefix_space(nullptr, step); });
  }
  return false;
}

bool is_byte_piece(const std::string& piece) { return piece.size() == 6 && piece.starts_with("<0x") && piece.back() == '>'; }

Vocabulary read_vocabulary(const Stages& stages, const TokenizerFile& file) {
  const BpeModel& model = stages.bpe.model();
  Vocabulary vocabulary;
  const auto null = Json(nullptr);
  vocabulary.normalizer = file.root.value("normalizer", null);
  vocabulary.pre_tokenizer = file.root.value("pre_tokenizer", null);
  const bool byte_level =
      mentions_type(vocabulary.pre_tokenizer, "ByteLevel") || mentions_type(vocabulary.normalizer, "ByteLevel");
  vocabulary.kind = byte_level ? TokenizerKind::kByteLevelBpe : TokenizerKind::kSentencePieceBpe;
  vocabulary.add_prefix_space = adds_prefix_space(vocabulary.normalizer, vocabulary.pre_tokenizer);

  std::int32_t last = -1;
  for (const auto& [piece, id] : model.vocab) last = std::max(last, id);
  for (const AddedToken& token : stages.added) last = std::max(last, token.id);
  // A hostile id must not make a vocabulary of gigabytes.
  const auto size = static_cast<std::size_t>(last) + 1;
  check(size <= 2 * (model.vocab.size() + stages.added.size()) + (1U << 16), ExitCode::kInput,
        "the tokenizer's largest id is {} for {} pieces (the file is damaged)", last, model.vocab.size() + stages.added.size());
  vocabulary.pieces.resize(size);
  vocabulary.scores.resize(size, 0.0F);
  vocabulary.types.resize(size, TokenType::kUnused);
  for (const auto& [piece, id] : model.vocab) {
    const auto at = static_cast<std::size_t>(id);
    check(vocabulary.types[at] == TokenType::kUnused, ExitCode::kInput,
          "the tokenizer's pieces \"{}\" and \"{}\" have the same id {}", vocabulary.pieces[at], piece, id);
    vocabulary.pieces[at] = piece;
    vocabulary.types[at] = model.byte_fallback && is_byte_piece(piece) ? TokenType::kByte : TokenType::kNormal;
  }
  for (const AddedToken& token : stages.added) {
    const auto at = static_cast<std::size_t>(token.id);
    const bool control = token.special || (token.content.starts_with("<|") && token.content.ends_with("|>"));
    vocabulary.pieces[at] = token.content;
    vocabulary.types[at] = token.content == model.unk_token && !byte_level ? TokenType::kUnknown
                           : control                                       ? TokenType::kControl
                                                                           : TokenType::kUserDefined;
  }
  float rank = 0;
  for (const auto& [left, right] : model.merges) {
    const auto found = model.vocab.find(left + right.substr(model.continuing_subword_prefix.size()));
    float& score = vocabulary.scores[static_cast<std::size_t>(found->second)];
    if (score == 0) score = -(rank + 1);
    ++rank;
  }
  vocabulary.merges = model.merges;
  return vocabulary;
}

// A tokenizer.model beside tokenizer.json has the true scores and types, if it is of the same vocabulary.
void take_spm_scores(const std::filesystem::path& path, Vocabulary& vocabulary) {
  if (vocabulary.kind == TokenizerKind::kByteLevelBpe || !std::filesystem::exists(path)) return;
  const SpmModel model = parse_spm_model(read_text_file(path.string()), path.string());
  const bool same = model.pieces.size() <= vocabulary.pieces.size() &&
                    std::equal(model.pieces.begin(), model.pieces.end(), vocabulary.pieces.begin());
  if (!same) return;
  std::copy(model.scores.begin(), model.scores.end(), vocabulary.scores.begin());
  std::copy(model.types.begin(), model.types.end(), vocabulary.types.begin());
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::filesystem::path& dir) {
  const std::filesystem::path path = dir / "tokenizer.json";
  const std::string text = read_text_file(path.string());
  TokenizerFile file = parse_tokenizer_file(text, path.string());
  try {
    Bpe bpe(read_model(file));
    std::vector<AddedToken> added = read_added_tokens(file.root, bpe.model().vocab);
    const auto part = [&](const char* name) { return file.root.contains(name) ? file.root.at(name) : Json(nullptr); };
    Stages stages{make_normalizer(part("normalizer")), std::move(added), make_pre_tokenizer(part("pre_tokenizer")),
                  std::move(bpe)};
    PostProcessor post_processor = read_post_processor(part("post_processor"));
    Vocabulary vocabulary = read_vocabulary(stages, file);
    take_spm_scores(dir / "tokenizer.model", vocabulary);
    place_special_tokens(read_special_tokens(dir), vocabulary);
    const auto& [prefix, suffix] = post_processor;
    vocabulary.add_bos = vocabulary.bos && !prefix.empty() && prefix.front() == *vocabulary.bos;
    vocabulary.add_eos = vocabulary.eos && !suffix.empty() && suffix.back() == *vocabulary.eos;
    const auto bos = vocabulary.bos.value_or(-1);
    const auto eos = vocabulary.eos.value_or(-1);
    std::string hash = xxh3_hex(fmt::format("tokenizer.json {} {} ", bos, eos) + text);
    return std::make_unique<JsonTokenizer>(std::move(stages), std::move(vocabulary), std::move(post_processor), std::move(hash));
  } catch (const nlohmann::json::exception& e) {
    fail(ExitCode::kInput, "{} has a part that is missing or of the wrong type: {}", path.string(), e.what());
  } catch (const Error& e) {
    fail(e.code(), "{}: {}", path.string(), e.what());
  }
}

}  // namespace mpiquant
