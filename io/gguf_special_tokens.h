#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/base/model_spec.h"

namespace mpiquant {

// What a tokenizer puts around text, and the templates of its chats.
struct GgufSpecialTokens {
  std::vector<std::pair<std::string, std::uint32_t>> ids;  // key in GGUF, "bos", "eos", "unknown", …, and token id
  bool add_bos = false;
  bool add_eos = false;
  std::vector<std::pair<std::string, std::string>> chat_templates;  // name ("" for the default one) and Jinja source
};

// From tokenizer_config.json, config.json, the chat template files and the parsed tokenizer.json (null if there is none) of a
// repository. Tokens that are not among `rows` embeddings are left out. Source: llama.cpp, gguf-py/gguf/vocab.py, SpecialVocab.
GgufSpecialTokens read_special_tokens(const std::string& model_dir, const nlohmann::json& tokenizer, std::int64_t rows,
                                      bool bos_by_default);

}  // namespace mpiquant
