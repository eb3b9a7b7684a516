#pragma once

#include <cstdint>
#include <vector>

#include "src/base/json.h"

namespace mpiquant {

// The special tokens that encoding with special tokens puts around one sequence.
struct PostProcessor {
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;
};

// Reads the "post_processor" of tokenizer.json; null adds nothing, unknown types are input errors.
PostProcessor read_post_processor(const Json& description);

}  // namespace mpiquant
