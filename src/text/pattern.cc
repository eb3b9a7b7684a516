#include "src/text/pattern.h"

#include "src/base/error.h"

namespace mpiquant {

namespace {

std::variant<std::string, Regex> read_pattern(const Json& description) {
  if (description.is_object() && description.contains("Regex")) return Regex(description.at("Regex").get<std::string>());
  check(description.is_object() && description.contains("String"), ExitCode::kInput,
        "the tokenizer has a pattern that is neither \"String\" nor \"Regex\": {}", description.dump());
  auto text = description.at("String").get<std::string>();
  check(!text.empty(), ExitCode::kInput, "the tokenizer has an empty \"String\" pattern (it would match everywhere)");
  return text;
}

std::vector<MatchRange> find_literal(std::string_view text, std::string_view literal) {
  std::vector<MatchRange> ranges;
  std::size_t last = 0;
  for (std::size_t at = text.find(literal); at != std::string_view::npos; at = text.find(literal, last)) {
    if (last < at) ranges.push_back({last, at, false});
    last = at + literal.size();
    ranges.push_back({at, last, true});
  }
  if (last < text.size()) ranges.push_back({last, text.size(), false});
  return ranges;
}

}  // namespace

Pattern::Pattern(const Json& description) : pattern_(read_pattern(description)) {}

std::vector<MatchRange> Pattern::find_matches(std::string_view text) const {
  if (const auto* literal = std::get_if<std::string>(&pattern_)) return find_literal(text, *literal);
  return std::get<Regex>(pattern_).find_matches(text);
}

}  // namespace mpiquant
