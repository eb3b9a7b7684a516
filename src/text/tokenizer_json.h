#pragma once

#include <filesystem>
#include <memory>

#include "src/text/tokenizer.h"

namespace mpiquant {

// Reads DIR/tokenizer.json (Hugging Face tokenizers, version 1.0, model BPE).
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::filesystem::path& dir);

}  // namespace mpiquant
