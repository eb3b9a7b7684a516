#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/quantized_source.h"
#include "src/base/error.h"
#include "src/comm/collectives.h"
#include "src/model/config.h"

namespace mpiquant {

// The work's error if it is one of the files (input or usage), nothing if there is none. What the machine cannot do says nothing
// about files: thrown.
template <typename Work>
std::optional<Error> problem_of(Work&& work) {
  std::optional<Error> error = attempt(std::forward<Work>(work));
  if (error && error->code() != ExitCode::kInput && error->code() != ExitCode::kUsage) throw Error(*error);
  return error;
}

// A repository or GGUF file as its readers see it, without its values.
struct Structure {
  PlainModel model;
  ModelSpec spec;
  std::optional<Error> unreadable;    // then there is no model
  std::vector<std::string> problems;  // headers that cannot be read; tensors that are not those of the configuration
};

// file: of a GGUF or safetensors file on its own, empty for a whole directory.
Structure read_structure(const std::filesystem::path& directory, const std::filesystem::path& file = {});

}  // namespace mpiquant
