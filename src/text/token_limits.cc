#include "src/text/token_limits.h"

#include "src/base/error.h"

namespace mpiquant {

std::int64_t count_tokens(const std::vector<std::vector<std::int32_t>>& samples) {
  std::int64_t count = 0;
  for (const auto& sample : samples) count += static_cast<std::int64_t>(sample.size());
  return count;
}

void check_tokens(const std::vector<std::vector<std::int32_t>>& samples, const TokenLimits& limits, std::string_view what) {
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const auto length = static_cast<std::int64_t>(samples[i].size());
    check(length > 0, ExitCode::kInput, "sample {} of {} is empty (a sample has tokens) remove it", i, what);
    check(limits.context == 0 || length <= limits.context, ExitCode::kInput,
          "sample {} of {} has {} tokens, the model's context {} (it cannot be run) shorten it", i, what, length, limits.context);
    for (const std::int32_t id : samples[i])
      check(id >= 0 && id < limits.vocab, ExitCode::kInput,
            "sample {} of {} has the token id {}, the model's vocabulary has {} (tokenizer and model do not belong together) use "
            "the ids of its own tokenizer",
            i, what, id, limits.vocab);
  }
}

}  // namespace mpiquant
