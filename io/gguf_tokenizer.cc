#include "io/gguf_tokenizer.h"

#include <sentencepiece_processor.h>

#include <filesystem>
#include <unordered_map>
#include <unordered_set>

#include "io/file.h"
#include "io/gguf_pretokenizer.h"
#include "src/base/error.h"
#include "src/base/json.h"
#include "src/base/token_id.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;
using KeyedJson = nlohmann::json;

constexpr float kAddedScore = -1000.0F;
constexpr float kUnusedScore = -10000.0F;
constexpr const char* kSpaceMark = "\u2581";

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

// Some added tokens are meant as control tokens and are not marked so.
bool looks_special(const std::string& token) {
  const auto framed = [&](const std::string& begin, const std::string& end) {
    return token.size() >= begin.size() + end.size() && token.starts_with(begin) && token.ends_with(end);
  };
  return token == "<pad>" || token == "<mask>" || framed("<|", "|>") || framed("<\uff5c", "\uff5c>") || framed("<unused", ">");
}

bool is_byte_token(const std::string& token) {
  return token.size() == 6 && token.starts_with("<0x") && token.ends_with(">") &&
         std::isxdigit(static_cast<unsigned char>(token[3])) != 0 && std::isxdigit(static_cast<unsigned char>(token[4])) != 0;
}

// The vocabulary while it is filled; ids are checked against the rows of the embeddings.
class Vocabulary {
 public:
  Vocabulary(GgufTokenizer& tokenizer, std::int64_t rows) : tokenizer_(tokenizer) {
    const auto count = static_cast<std::size_t>(rows);
    for (std::size_t i = 0; i < count; ++i) tokenizer_.tokens.push_back(fmt::format("[PAD{}]", i));
    tokenizer_.types.assign(count, GgufTokenizer::kUnused);
    if (tokenizer_.model == "llama") tokenizer_.scores.assign(count, kUnusedScore);
  }

  void set(std::int64_t id, std::string token, GgufTokenizer::Type type, float score) {
    check(id >= 0 && id < static_cast<std::int64_t>(tokenizer_.tokens.size()), ExitCode::kInput,
          "token \"{}\" has id {}, but there are only {} embeddings (tokenizer and model do not belong together)", token, id,
          tokenizer_.tokens.size());
    const auto at = static_cast<std::size_t>(id);
    tokenizer_.tokens[at] = std::move(token);
    tokenizer_.types[at] = type;
    if (!tokenizer_.scores.empty()) tokenizer_.scores[at] = score;
  }

  void set_added(std::int64_t id, std::string token, bool special) {
    const bool control = special || looks_special(token);
    if (!control) replace_all(token, kSpaceMark, " ");
    const auto at = static_cast<std::size_t>(id);
    const bool keeps = id >= 0 && at < tokenizer_.types.size() && tokenizer_.types[at] == GgufTokenizer::kUnknown;
    set(id, std::move(token),
        keeps     ? GgufTokenizer::kUnknown
        : control ? GgufTokenizer::kControl
                  : GgufTokenizer::kUserDefined,
        kAddedScore);
  }

  void check_unique() const {
    std::unordered_map<std::string_view, std::size_t> seen;
    for (std::size_t i = 0; i < tokenizer_.tokens.size(); ++i) {
      const auto [first, inserted] = seen.emplace(tokenizer_.tokens[i], i);
      check(inserted, ExitCode::kInput, "tokens {} and {} are both \"{}\" (GGUF readers refuse a vocabulary with duplicates)",
            first->second, i, tokenizer_.tokens[i]);
    }
  }

 private:
  GgufTokenizer& tokenizer_;
};

// "a b" or ["a", "b"]; a space inside a piece is written as U+0120.
std::vector<std::pair<std::string, std::string>> merges_of(const KeyedJson& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (const KeyedJson& merge : model.value("merges", KeyedJson::array())) {
    if (merge.is_array() && merge.size() == 2) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.get<std::string>();
    const std::size_t space = text.find(' ', 1);
    check(space != std::string::npos && space + 1 < text.size(), ExitCode::kInput,
          "the merge \"{}\" of tokenizer.json is not a pair", text);
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

void add_added_tokens(const KeyedJson& json, Vocabulary& vocabulary) {
  for (const KeyedJson& token : json.value("added_tokens", KeyedJson::array()))
    vocabulary.set_added(token_id(token.at("id")), token.at("content").get<std::string>(), token.value("special", false));
}

void fill_byte_level(const KeyedJson& json, Vocabulary& vocabulary, GgufTokenizer& result) {
  const KeyedJson& model = json.at("model");
  for (const auto& [token, id] : model.at("vocab").items()) vocabulary.set(token_id(id), token, GgufTokenizer::kNormal, 0);
  add_added_tokens(json, vocabulary);
  for (auto& [left, right] : merges_of(model)) {
    replace_all(left, " ", "\u0120");
    replace_all(right, " ", "\u0120");
    result.merges.push_back(left + " " + right);
  }
}

// Scores take the place of merge ranks: the token that the r-th merge makes first has score -r, so that llama.cpp, which joins
// the pair of highest score, joins in the order of the merges.
void fill_sentencepiece_json(const KeyedJson& json, Vocabulary& vocabulary) {
  const KeyedJson& model = json.at("model");
  std::unordered_map<std::string, float> scores;
  for (const auto& [left, right] : merges_of(model)) scores.emplace(left + right, -static_cast<float>(scores.size()));
  const std::string unknown =
      model.contains("unk_token") && model["unk_token"].is_string() ? model["unk_token"].get<std::string>() : "";
  const auto merged = static_cast<float>(scores.size());
  for (const auto& [token, id] : model.at("vocab").items()) {
    const auto score = scores.find(token);
    const bool byte = is_byte_token(token);
    const auto type = token == unknown && !unknown.empty() ? GgufTokenizer::kUnknown
                      : byte                               ? GgufTokenizer::kByte
                                                           : GgufTokenizer::kNormal;
    const float other = byte || type == GgufTokenizer::kUnknown ? 0.0F : -merged - static_cast<float>(token_id(id));
    vocabulary.set(token_id(id), token, type, score != scores.end() ? score->second : other);
  }
  add_added_tokens(json, vocabulary);
}

void fill_sentencepiece_model(const fs::path& path, std::int64_t rows, Vocabulary& vocabulary, GgufTokenizer& result) {
  sentencepiece::SentencePieceProcessor processor;
  const std::string content = read_text_file(path);
  check(processor.LoadFromSerializedProto(content).ok(), ExitCode::kInput, "{} is not a SentencePiece model", path.string());
  check(processor.GetPieceSize() <= rows, ExitCode::kInput,
        "{} has {} pieces, but there are only {} embeddings (tokenizer and model do not belong together)", path.string(),
        processor.GetPieceSize(), rows);
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    const auto type = processor.IsUnknown(id)   ? GgufTokenizer::kUnknown
                      : processor.IsControl(id) ? GgufTokenizer::kControl
                      : processor.IsUnused(id)  ? GgufTokenizer::kUnused
                      : processor.IsByte(id)    ? GgufTokenizer::kByte
                                                : GgufTokenizer::kNormal;
    vocabulary.set(id, processor.IdToPiece(id), type, processor.GetScore(id));
  }
  std::vector<std::string> pieces;
  check(processor.Encode("a", &pieces).ok(), ExitCode::kInput, "{} cannot encode text", path.string());
  if (!pieces.empty() && !pieces.front().starts_with(kSpaceMark)) result.add_space_prefix = false;
}

// Tokens that repositories add beside tokenizer.model: added_tokens.json and tokenizer_config.json's added_tokens_decoder.
void add_configured_tokens(const fs::path& dir, Vocabulary& vocabulary) {
  if (fs::is_regular_file(dir / "added_tokens.json")) {
    const KeyedJson added = parse_json_by_key(read_text_file(dir / "added_tokens.json"), "added_tokens.json");
    for (const auto& [token, id] : added.items()) vocabulary.set_added(token_id(id), token, false);
  }
  if (!fs::is_regular_file(dir / "tokenizer_config.json")) return;
  const KeyedJson config = parse_json_by_key(read_text_file(dir / "tokenizer_config.json"), "tokenizer_config.json");
  const KeyedJson decoder = config.value("added_tokens_decoder", KeyedJson::object());
  for (const auto& [id, token] : decoder.items())
    vocabulary.set_added(std::stoll(id), token.at("content").get<std::string>(), token.value("special", false));
}

// Whether text gets a space in front: a Prepend normalizer, or Metaspace with a prepend scheme.
bool prepends_space(const KeyedJson& step) {
  if (!step.is_object()) return false;
  const std::string type = step.value("type", "");
  if (type == "Prepend") return true;
  if (type == "Metaspace")
    return step.value("prepend_scheme", step.value("add_prefix_space", true) ? "always" : "never") != "never";
  for (const char* list : {"normalizers", "pretokenizers"})
    for (const KeyedJson& inner : step.value(list, KeyedJson::array()))
      if (prepends_space(inner)) return true;
  return false;
}

// SentencePiece-style tokenizers write spaces as U+2581.
bool marks_spaces(const KeyedJson& json) {
  const std::string steps = json.value("normalizer", KeyedJson()).dump() + json.value("pre_tokenizer", KeyedJson()).dump();
  return steps.find(kSpaceMark) != std::string::npos || steps.find("Metaspace") != std::string::npos;
}

bool is_byte_level(const KeyedJson& step) {
  if (!step.is_object()) return false;
  if (step.value("type", "") == "ByteLevel") return true;
  for (const KeyedJson& inner : step.value("pretokenizers", KeyedJson::array()))
    if (is_byte_level(inner)) return true;
  return false;
}

GgufTokenizer read(const fs::path& dir, std::int64_t rows, const std::string& pre) {
  const fs::path json_path = dir / "tokenizer.json";
  const fs::path piece_path = dir / "tokenizer.model";
  const bool has_json = fs::is_regular_file(json_path);
  const bool has_pieces = fs::is_regular_file(piece_path);
  check(has_json || has_pieces, ExitCode::kInput,
        "{} has neither tokenizer.json nor tokenizer.model (a GGUF file holds its tokenizer)", dir.string());
  const KeyedJson json = has_json ? parse_json_by_key(read_text_file(json_path), json_path.string()) : KeyedJson();
  if (has_json)
    check(json.is_object() && json.contains("model") && json["model"].value("type", "") == "BPE", ExitCode::kInput,
          "{} is not a BPE tokenizer (GGUF files are written with BPE vocabularies here)", json_path.string());
  GgufTokenizer result;
  const bool byte_level = has_json && is_byte_level(json.value("pre_tokenizer", KeyedJson()));
  result.model = byte_level ? "gpt2" : "llama";
  Vocabulary vocabulary(result, rows);
  if (byte_level) {
    result.pre = pre.empty() ? gguf_pretokenizer(json) : pre;
    fill_byte_level(json, vocabulary, result);
  } else {
    check(has_pieces || marks_spaces(json), ExitCode::kInput,
          "{} is neither a byte-level nor a SentencePiece-style tokenizer (GGUF has no place for another)", json_path.string());
    result.pre = pre.empty() ? "default" : pre;
    if (has_pieces)
      fill_sentencepiece_model(piece_path, rows, vocabulary, result);
    else
      fill_sentencepiece_json(json, vocabulary);
    add_configured_tokens(dir, vocabulary);
    if (has_json && has_pieces) add_added_tokens(json, vocabulary);
    if (has_json && !prepends_space(json.value("normalizer", KeyedJson())) &&
        !prepends_space(json.value("pre_tokenizer", KeyedJson())))
      result.add_space_prefix = false;
  }
  vocabulary.check_unique();
  result.special = read_special_tokens(dir.string(), json, rows, !byte_level);
  return result;
}

}  // namespace

GgufTokenizer read_gguf_tokenizer(const std::string& model_dir, std::int64_t rows, const std::string& pre) {
  try {
    return read(model_dir, rows, pre);
  } catch (const KeyedJson::exception& error) {
    fail(ExitCode::kInput, "the tokenizer files of {} hold a value of an unexpected type: {}", model_dir, error.what());
  } catch (const std::logic_error& error) {  // std::stoll: a token id that is no number
    fail(ExitCode::kInput, "the tokenizer files of {} hold a token id that is no number: {}", model_dir, error.what());
  }
}

}  // namespace mpiquant
