#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/text/calibration_text.h"
#include "src/text/token_limits.h"
#include "src/text/tokenizer.h"

namespace mpiquant {

// kAuto: documents that are samples of their own (split_on) begin with BOS if the tokenizer's post-processor puts one in front of
// a text; windows, which begin anywhere in a text, do not. kAlways: every sample begins with BOS, which counts among its tokens.
enum class BosMode : std::uint8_t { kAuto, kAlways, kNever };

// "auto", "always" or "never"; else a usage error.
BosMode bos_mode(const std::string& name);
std::string to_string(BosMode mode);

// How samples are cut from text. By default: the tokens of all documents, one behind the other without anything in between, in
// consecutive windows of `seqlen`.
struct CalibrationOptions {
  std::int64_t nsamples = 128;  // at most
  std::int64_t seqlen = 2048;   // tokens of a sample
  // One sample a document, cut to seqlen: what lies between occurrences of this string; "": the documents as they are.
  std::optional<std::string> split_on = std::nullopt;
  bool shuffle = false;  // the windows or documents that `seed` draws, instead of the first ones
  std::uint64_t seed = 0;
  BosMode bos = BosMode::kAuto;
};

struct CalibrationSet {
  std::vector<std::vector<std::int32_t>> samples;
  Json record;                     // "key": what decides about the samples; "sources" and counts
  std::vector<std::string> notes;  // for the user: what was cut or is fewer than asked for
};

// All that decides about the samples, by name: hashes of text and tokenizer, and the options.
Json calibration_key(const CalibrationText& text, const Tokenizer& tokenizer, const CalibrationOptions& options,
                     const TokenLimits& limits);

// Tokenizes and cuts. Errors: usage (counts below 1, BOS of a tokenizer without one), input (not one full window, no document,
// an id that the model lacks).
CalibrationSet make_calibration(const CalibrationText& text, const Tokenizer& tokenizer, const CalibrationOptions& options,
                                const TokenLimits& limits);

// Samples given as token ids, all of them and unchanged: JSON (a list of lists, or {"input_ids": that}) or HDF5 (a token store,
// or a dataset "input_ids" of two dimensions). Errors (input): another form, an empty or too long sample, an id that the model
// lacks.
CalibrationSet read_calibration_ids(const std::string& path, const TokenLimits& limits);

}  // namespace mpiquant
