#pragma once

#include <string>
#include <string_view>

#include "src/plan/choices.h"

namespace mpiquant {

// A recipe file, version 1 (docs/recipes.md), over the defaults. Everything in it is checked as far as no model is needed:
// unknown, repeated and misplaced keys, values of another kind or outside their range. Throws (usage error) "WHAT:LINE:COLUMN:
// problem", with the nearest known name. Gates that quantize cannot check are refused by name.
RunChoices parse_recipe_yaml(std::string_view text, const std::string& what);

}  // namespace mpiquant
