#include "src/text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <cstdint>
#include <optional>

#include "src/base/error.h"
#include "src/text/oniguruma.h"
#include "src/text/unicode.h"

namespace mpiquant {

namespace {

struct ContextFree {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
struct MatchFree {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::State {
  struct CodeFree {
    void operator()(pcre2_code* compiled) const { pcre2_code_free(compiled); }
  };
  std::string pattern;
  std::unique_ptr<pcre2_code, CodeFree> code;
};

Regex::Regex(const std::string& pattern) : state_(std::make_unique<State>()) {
  state_->pattern = pattern;
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::string translated = oniguruma_to_pcre2(pattern);
  const std::unique_ptr<pcre2_compile_context, ContextFree> context(pcre2_compile_context_create(nullptr));
  check(context != nullptr, ExitCode::kEnvironment, "out of memory while compiling a regular expression");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  state_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context.get()));
  check(state_->code != nullptr, ExitCode::kInput, "the tokenizer's regular expression {} is not understood at byte {}: {}",
        pattern, offset, pcre_message(error));
  // Without a just-in-time compiler on this machine the interpreter runs: same matches, slower.
  pcre2_jit_compile(state_->code.get(), PCRE2_JIT_COMPLETE);
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

std::vector<MatchRange> Regex::find_matches(std::string_view text) const {
  std::vector<MatchRange> ranges;
  const std::unique_ptr<pcre2_match_data, MatchFree> data(pcre2_match_data_create_from_pattern(state_->code.get(), nullptr));
  check(data != nullptr, ExitCode::kEnvironment, "out of memory while matching a regular expression");
  const auto match = [&](std::size_t from, std::uint32_t options) {
    return pcre2_match(state_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       PCRE2_NO_UTF_CHECK | options, data.get(), nullptr);
  };
  std::size_t from = 0;
  std::size_t covered = 0;
  std::optional<std::size_t> last_end;
  while (from <= text.size()) {
    int found = match(from, 0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(from, PCRE2_NO_JIT);  // the interpreter's stack is the heap
    if (found == PCRE2_ERROR_NOMATCH) break;
    check(found >= 0, ExitCode::kInput, "the tokenizer's regular expression {} failed on the text at byte {}: {}",
          state_->pattern, from, pcre_message(found));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = ends[0];
    const std::size_t end = ends[1];
    // An empty match directly behind the last match does not count.
    if (begin == end && last_end == end) {
      if (end == text.size()) break;
      from = end;
      next_code_point(text, from);
      continue;
    }
    if (covered < begin) ranges.push_back({covered, begin, false});
    ranges.push_back({begin, end, true});
    from = covered = end;
    last_end = end;
  }
  if (covered < text.size()) ranges.push_back({covered, text.size(), false});
  return ranges;
}

}  // namespace mpiquant
