#include "io/gguf_pretokenizer.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "src/base/error.h"

namespace mpiquant {
namespace {

using KeyedJson = nlohmann::json;

// A pre-tokenizer as one line a step: "split REGEX", "digits", "bytes", "bytes+regex".
struct PreTokenizer {
  std::string_view pre;
  std::vector<std::string_view> steps;
  bool nfc = false;  // also with an NFC normalizer, which llama.cpp leaves out
};

constexpr std::string_view kLlama3 =
    R"re(split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kQwen2 =
    R"re(split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kQwen35 =
    R"re(split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kTekken =
    R"re(split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
constexpr std::string_view kGpt4o =
    R"re(split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";

// Patterns: llama.cpp, src/llama-vocab.cpp, llm_tokenizer_bpe.
const std::array<PreTokenizer, 7>& table() {
  static const std::array<PreTokenizer, 7> rows = {{
      {"llama-bpe", {kLlama3, "bytes"}},
      {"qwen2", {kQwen2, "bytes"}, true},
      {"qwen35", {kQwen35, "bytes"}, true},
      {"tekken", {kTekken, "bytes"}},
      {"gpt-4o", {kGpt4o, "bytes"}},
      {"gpt-2", {"bytes+regex"}},
      {"smollm", {"digits", "bytes+regex"}},
  }};
  return rows;
}

std::string step_of(const KeyedJson& step) {
  const std::string type = step.value("type", "");
  if (type == "Split") {
    const KeyedJson pattern = step.value("pattern", KeyedJson::object());
    const bool isolated = step.value("behavior", "") == "Isolated" && !step.value("invert", false);
    if (isolated && pattern.contains("Regex")) return "split " + pattern["Regex"].get<std::string>();
  }
  if (type == "Digits" && step.value("individual_digits", false)) return "digits";
  if (type == "ByteLevel" && !step.value("add_prefix_space", true))
    return step.value("use_regex", true) ? "bytes+regex" : "bytes";
  return "?";
}

std::vector<std::string> steps_of(const KeyedJson& pre_tokenizer) {
  std::vector<std::string> steps;
  if (!pre_tokenizer.is_object()) return steps;
  if (pre_tokenizer.value("type", "") != "Sequence") return {step_of(pre_tokenizer)};
  for (const KeyedJson& step : pre_tokenizer.value("pretokenizers", KeyedJson::array())) steps.push_back(step_of(step));
  return steps;
}

}  // namespace

std::string gguf_pretokenizer(const KeyedJson& tokenizer) {
  const KeyedJson normalizer = tokenizer.value("normalizer", KeyedJson());
  const std::vector<std::string> steps = steps_of(tokenizer.value("pre_tokenizer", KeyedJson()));
  const bool nfc = normalizer.is_object() && normalizer.value("type", "") == "NFC";
  for (const PreTokenizer& row : table())
    if (std::ranges::equal(steps, row.steps) && (normalizer.is_null() || (nfc && row.nfc))) return std::string(row.pre);
  fail(
      ExitCode::kInput,
      "the pre-tokenizer of tokenizer.json has no name in llama.cpp's list that is known here (a GGUF reader would split text in "
      "another way); give the name with --gguf-pre NAME. Its structure: normalizer {}, pre_tokenizer {}",
      normalizer.dump(), tokenizer.value("pre_tokenizer", KeyedJson()).dump());
}

}  // namespace mpiquant
