#include "src/text/special_tokens.h"

#include <algorithm>

#include "io/file.h"
#include "src/base/json.h"

namespace mpiquant {

namespace {

// A token is written as its text or as an object with "content".
void read_token(const Json& config, const char* name, std::optional<std::string>& token) {
  if (token || !config.contains(name)) return;
  const Json& value = config.at(name);
  if (value.is_string()) token = value.get<std::string>();
  if (value.is_object() && value.contains("content")) token = value.at("content").get<std::string>();
}

void read_flag(const Json& config, const char* name, std::optional<bool>& flag) {
  if (config.contains(name) && config.at(name).is_boolean()) flag = config.at(name).get<bool>();
}

}  // namespace

SpecialTokens read_special_tokens(const std::filesystem::path& dir) {
  SpecialTokens tokens;
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const std::filesystem::path path = dir / name;
    if (!std::filesystem::exists(path)) continue;
    const Json config = parse_json(read_text_file(path.string()), path.string());
    read_token(config, "bos_token", tokens.bos);
    read_token(config, "eos_token", tokens.eos);
    read_token(config, "unk_token", tokens.unk);
    read_token(config, "pad_token", tokens.pad);
    read_flag(config, "add_bos_token", tokens.add_bos);
    read_flag(config, "add_eos_token", tokens.add_eos);
    if (config.contains("legacy") && config.at("legacy").is_boolean()) tokens.legacy = config.at("legacy").get<bool>();
  }
  return tokens;
}

void place_special_tokens(const SpecialTokens& special, Vocabulary& vocabulary) {
  const auto id_of = [&](const std::optional<std::string>& token) -> std::optional<std::int32_t> {
    if (!token) return std::nullopt;
    const auto found = std::find(vocabulary.pieces.begin(), vocabulary.pieces.end(), *token);
    if (found == vocabulary.pieces.end()) return std::nullopt;
    return static_cast<std::int32_t>(found - vocabulary.pieces.begin());
  };
  vocabulary.bos = id_of(special.bos);
  vocabulary.eos = id_of(special.eos);
  vocabulary.unk = id_of(special.unk);
  vocabulary.pad = id_of(special.pad);
}

}  // namespace mpiquant
