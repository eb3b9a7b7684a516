#pragma once

#include <memory>
#include <string>

#include "src/base/json.h"

namespace mpiquant {

struct NormalizedText {
  std::string text;
  bool front_kept = true;  // the first character of the original was not removed
};

// Rewrites a piece of text before it is split (the "normalizer" of tokenizer.json).
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(NormalizedText& text) const = 0;
};

// Builds the normalizer that tokenizer.json describes; null gives nullptr, unknown types are input errors.
std::unique_ptr<Normalizer> make_normalizer(const Json& description);

}  // namespace mpiquant
