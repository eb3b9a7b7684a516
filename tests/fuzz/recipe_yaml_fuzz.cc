// A recipe.
#include "src/plan/recipe_yaml.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) { parse_recipe_yaml(data, "recipe.yaml"); }
