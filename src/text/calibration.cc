#include "src/text/calibration.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "src/base/error.h"
#include "src/text/token_limits.h"

namespace mpiquant {

namespace {

using Sample = std::vector<std::int32_t>;

constexpr std::array<std::pair<std::string_view, BosMode>, 3> kBosModes{
    {{"auto", BosMode::kAuto}, {"always", BosMode::kAlways}, {"never", BosMode::kNever}}};

// A number below `bound`, the same everywhere for the same generator: the library's distributions are not.
std::uint64_t draw_below(std::mt19937_64& generator, std::uint64_t bound) {
  const std::uint64_t limit = std::numeric_limits<std::uint64_t>::max() - std::numeric_limits<std::uint64_t>::max() % bound;
  for (;;) {
    const std::uint64_t value = generator();
    if (value < limit) return value % bound;
  }
}

// Which `count` of `total` things are taken, in order: the first ones, or those that a shuffle puts first.
std::vector<std::size_t> choose(std::size_t total, std::size_t count, const CalibrationOptions& options) {
  std::vector<std::size_t> order(total);
  std::iota(order.begin(), order.end(), std::size_t{0});
  count = std::min(count, total);
  if (options.shuffle) {
    std::mt19937_64 generator(options.seed);
    for (std::size_t i = 0; i < count; ++i) std::swap(order[i], order[i + draw_below(generator, total - i)]);
  }
  order.resize(count);
  return order;
}

std::vector<std::string_view> split_document(std::string_view text, const std::string& separator) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  for (std::size_t at = separator.empty() ? std::string_view::npos : text.find(separator); at != std::string_view::npos;
       at = text.find(separator, begin)) {
    parts.push_back(text.substr(begin, at - begin));
    begin = at + separator.size();
  }
  parts.push_back(text.substr(begin));
  std::erase_if(parts, [](std::string_view part) { return part.find_first_not_of(" \t\r\n") == std::string_view::npos; });
  return parts;
}

// Cuts text into samples; one object for one set.
class Sampler {
 public:
  Sampler(const CalibrationText& text, const Tokenizer& tokenizer, const CalibrationOptions& options, std::int64_t seqlen)
      : text_(text), tokenizer_(tokenizer), options_(options), length_(static_cast<std::size_t>(seqlen)) {
    const bool wanted =
        options.bos == BosMode::kAlways || (options.bos == BosMode::kAuto && options.split_on && tokenizer.vocabulary().add_bos);
    if (!wanted) return;
    check(tokenizer.bos_id().has_value(), ExitCode::kUsage,
          "the tokenizer names no BOS token (--bos always needs one) use --bos never");
    prefix_.push_back(*tokenizer.bos_id());
    check(length_ > 1, ExitCode::kUsage, "samples of 1 token would hold nothing but BOS, use a larger --seqlen");
  }

  std::vector<Sample> windows() const {
    const std::size_t step = length_ - prefix_.size();
    const auto wanted = static_cast<std::size_t>(options_.nsamples);
    Sample ids;
    for (const std::string& document : text_.documents) {
      const Sample part = tokenizer_.encode(document, false);
      ids.insert(ids.end(), part.begin(), part.end());
      if (!options_.shuffle && ids.size() / step >= wanted) break;
    }
    check(ids.size() >= step, ExitCode::kInput,
          "the text has {} tokens, not one window of {} (nothing can be cut from it) give more text, or windows of {} tokens "
          "(--seqlen; of evaluate: --window)",
          ids.size(), step, ids.size() + prefix_.size());
    std::vector<Sample> samples;
    for (const std::size_t window : choose(ids.size() / step, wanted, options_)) {
      const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(window * step);
      samples.push_back(prefix_);
      samples.back().insert(samples.back().end(), begin, begin + static_cast<std::ptrdiff_t>(step));
    }
    return samples;
  }

  std::vector<Sample> documents() const {
    std::vector<std::string_view> parts;
    for (const std::string& document : text_.documents) {
      const auto found = split_document(document, *options_.split_on);
      parts.insert(parts.end(), found.begin(), found.end());
    }
    const auto wanted = static_cast<std::size_t>(options_.nsamples);
    std::vector<Sample> samples;
    for (const std::size_t part : choose(parts.size(), parts.size(), options_)) {
      if (samples.size() == wanted) break;
      const Sample ids = tokenizer_.encode(parts[part], false);
      if (ids.empty()) continue;
      samples.push_back(prefix_);
      const std::size_t room = std::min(ids.size(), length_ - prefix_.size());
      samples.back().insert(samples.back().end(), ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(room));
    }
    check(!samples.empty(), ExitCode::kInput, "the calibration text has no document that holds more than white space");
    return samples;
  }

 private:
  const CalibrationText& text_;
  const Tokenizer& tokenizer_;
  const CalibrationOptions& options_;
  std::size_t length_;
  Sample prefix_;
};

std::int64_t cut_to_context(std::int64_t seqlen, const TokenLimits& limits) {
  return limits.context > 0 ? std::min(seqlen, limits.context) : seqlen;
}

}  // namespace

BosMode bos_mode(const std::string& name) {
  for (const auto& [known, mode] : kBosModes)
    if (name == known) return mode;
  fail(ExitCode::kUsage, "--bos {} is unknown (auto, always or never)", name);
}

std::string to_string(BosMode mode) {
  for (const auto& [name, known] : kBosModes)
    if (mode == known) return std::string(name);
  fail(ExitCode::kInternal, "internal error: unknown BOS mode");
}

Json calibration_key(const CalibrationText& text, const Tokenizer& tokenizer, const CalibrationOptions& options,
                     const TokenLimits& limits) {
  check(options.nsamples >= 1, ExitCode::kUsage, "--nsamples {} is too few (at least 1 is needed)", options.nsamples);
  check(options.seqlen >= 1, ExitCode::kUsage, "--seqlen {} is too short (at least 1 token is needed)", options.seqlen);
  return {{"tokenizer", tokenizer.content_hash()},
          {"text", text.hash},
          {"nsamples", options.nsamples},
          {"seqlen", cut_to_context(options.seqlen, limits)},
          {"split_on", options.split_on ? Json(*options.split_on) : Json(nullptr)},
          {"shuffle", options.shuffle},
          {"seed", options.shuffle ? Json(options.seed) : Json(nullptr)},
          {"bos", to_string(options.bos)}};
}

CalibrationSet make_calibration(const CalibrationText& text, const Tokenizer& tokenizer, const CalibrationOptions& options,
                                const TokenLimits& limits) {
  CalibrationSet set;
  set.record["key"] = calibration_key(text, tokenizer, options, limits);
  const std::int64_t seqlen = cut_to_context(options.seqlen, limits);
  if (seqlen < options.seqlen)
    set.notes.push_back(fmt::format("samples are cut to the model's context: {} instead of {} tokens", seqlen, options.seqlen));
  const Sampler sampler(text, tokenizer, options, seqlen);
  set.samples = options.split_on ? sampler.documents() : sampler.windows();
  const auto found = static_cast<std::int64_t>(set.samples.size());
  if (found < options.nsamples)
    set.notes.push_back(fmt::format("the calibration text makes only {} of the {} samples asked for", found, options.nsamples));
  check_tokens(set.samples, limits, "the calibration text");
  set.record["sources"] = text.sources;
  set.record["samples"] = found;
  set.record["tokens"] = count_tokens(set.samples);
  return set;
}

}  // namespace mpiquant
