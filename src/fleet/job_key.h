#pragma once

#include <string>

#include "src/fleet/spec.h"

namespace mpiquant {

// Content hashes of input files, kept in the state so that a file is read again only when its size or time has changed. Files of
// the local Hugging Face cache are known by the names of their blobs.
class InputHashes {
 public:
  // keeps: else what is in the folder is used, and nothing is put there.
  explicit InputHashes(std::string folder, bool keeps = true) : folder_(std::move(folder)), keeps_(keeps) {}
  // 32 hexadecimal digits, or another text that names the content; "missing" when there is no such file.
  std::string file(const std::string& path) const;
  // Of the files right in a model's directory; "missing" when the model is not there.
  std::string model(const std::string& argument) const;

 private:
  std::string folder_;
  bool keeps_;
};

// What decides the outputs and figures of a job: model, options, recipe file, evaluation, contents of all files among them, and
// the program's version. 32 hexadecimal digits.
std::string job_key(const FleetJob& job, const InputHashes& hashes);

}  // namespace mpiquant
