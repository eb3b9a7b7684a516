#pragma once

#include "io/container.h"

namespace mpiquant {

// README.md of an output: YAML front matter (licence and languages of the source, base model, tags) and how to load it.
TextFile model_card(const OutputSpec& output, const RunFacts& facts);

// The licence that the source's card names in its front matter ("apache-2.0"); empty if it names none.
std::string source_license(const std::string& model_dir);

}  // namespace mpiquant
