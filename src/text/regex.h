#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/text/split.h"

namespace mpiquant {

// A regular expression over UTF-8 text with Unicode properties, in the syntax that tokenizer.json files use (Oniguruma, Ruby
// flavour). Safe to use from several threads. Patterns that cannot be reproduced exactly are input errors.
class Regex {
 public:
  explicit Regex(const std::string& pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // All matches from left to right, and the ranges between them; `text` is valid UTF-8.
  std::vector<MatchRange> find_matches(std::string_view text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mpiquant
