#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/container.h"

namespace mpiquant {

// What sets a written config.json apart from its source.
struct RepositoryEdits {
  std::optional<DType> dtype;   // of the whole model, if it changes
  Json quantization;            // quantization_config; null: none
  std::vector<TextFile> extra;  // further files of the container
};

// A config.json without any quantization_config, also in a nested text_config.
Json config_without_quantization(Json config);

// config.json of an output of this model.
Json output_config(const OutputSpec& output, const RunFacts& facts, const RepositoryEdits& edits);

// Files that a repository carries over unchanged: tokenizer, generation config, chat templates, licence and so on.
std::vector<TextFile> carried_files(const std::string& model_dir);

// Everything of a repository but its tensors: config, carried files, index of `files` if they are shards, card, .gitattributes.
std::vector<TextFile> repository_files(const OutputSpec& output, const RunFacts& facts, const std::vector<FilePlan>& files,
                                       const RepositoryEdits& edits);

}  // namespace mpiquant
