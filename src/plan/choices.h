#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "src/plan/recipe.h"
#include "src/text/calibration.h"

namespace mpiquant {

// Where calibration text comes from and how it is cut.
struct CalibrationChoice {
  std::vector<std::string> files;  // text, .jsonl, .json, or hf:NAME[:CONFIG][:SPLIT][:FIELD]
  std::vector<std::string> texts;  // text right here
  std::string ids;                 // file of exact token ids
  std::string token_store;         // HDF5 file of tokenized samples
  std::string field = "text";      // of .json and .jsonl files
  std::string python = "python3";  // that reads hf: data sets
  CalibrationOptions cut;

  bool has_source() const { return !files.empty() || !texts.empty() || !ids.empty(); }
};

// Limits on what a run had to do otherwise than asked; passing one fails the run with exit code 5. Nothing: no limit.
struct Gates {
  std::optional<std::int64_t> max_fallbacks;        // tensors and choices that needed any
  std::optional<std::int64_t> max_damping_retries;  // failed factorizations, over all tensors
  std::optional<std::int64_t> max_clipped_scales;   // scales that left the range of their stored type, over all tensors
};

// All choices of a run, as a recipe file with the command line on top says them.
struct RunChoices {
  std::string description;  // a line for lists, of a recipe file
  Recipe recipe;
  CalibrationChoice calibration;
  Gates gates;
};

// A size in bytes: "5GB", "500MB", "4096"; units are powers of ten. Throws (usage error) that names `name`.
std::int64_t parse_bytes(const std::string& text, const std::string& name);

// Checks each value by itself, and for `check_choices` also together. Throws (usage error) with the name of the value.
void check_values(const RunChoices& choices);
void check_choices(const RunChoices& choices);

}  // namespace mpiquant
