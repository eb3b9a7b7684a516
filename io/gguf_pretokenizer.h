#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace mpiquant {

// The name (tokenizer.ggml.pre) under which llama.cpp splits text as this tokenizer.json does: a table of normalizer and
// pre-tokenizer structures, compared exactly. Input error, naming --gguf-pre, when the table has no such structure.
std::string gguf_pretokenizer(const nlohmann::json& tokenizer);

}  // namespace mpiquant
