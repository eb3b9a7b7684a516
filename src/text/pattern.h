#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "src/base/json.h"
#include "src/text/regex.h"
#include "src/text/split.h"

namespace mpiquant {

// The "pattern" of a Split or Replace in tokenizer.json: {"String": text} or {"Regex": expression}.
class Pattern {
 public:
  explicit Pattern(const Json& description);

  // All matches in `text` and the ranges between them.
  std::vector<MatchRange> find_matches(std::string_view text) const;

 private:
  std::variant<std::string, Regex> pattern_;
};

}  // namespace mpiquant
