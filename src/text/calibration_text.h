#pragma once

#include <string>
#include <vector>

#include "src/base/json.h"

namespace mpiquant {

// Where text for calibration comes from.
struct TextSources {
  // Files: .jsonl and .json hold documents in the field `field`, or chats in "messages"; all others are one document of plain
  // text. "hf:NAME[:CONFIG][:SPLIT][:FIELD]" is a data set of the local Hugging Face cache.
  std::vector<std::string> files;
  std::vector<std::string> strings;  // each one document, after the files
  std::string field = "text";
  std::string python = "python3";  // runs the helper
  std::string helper;              // path of hf_text.py; needed for hf: sources and chats only
  std::string model;               // directory whose chat template is applied to chats
};

struct CalibrationText {
  std::vector<std::string> documents;  // valid UTF-8, not empty, in the order of the sources
  std::string hash;                    // of lengths and bytes of all documents, 32 hex digits
  Json sources;                        // for the record: name without its folder, documents, bytes
};

// Reads all documents. Files that are empty or not UTF-8 and records without the field are input errors.
CalibrationText read_calibration_text(const TextSources& sources);

}  // namespace mpiquant
