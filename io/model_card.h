#pragma once

#include "io/container.h"

namespace mpiquant {

// README.md of an output: YAML front matter (licence and languages of the source, base model, tags) and how to load it.
TextFile model_card(const OutputSpec& output, const RunFacts& facts);

}  // namespace mpiquant
