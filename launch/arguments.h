#pragma once

#include <string>
#include <vector>

#include "launch/option_values.h"
#include "launch/page.h"
#include "src/plan/choices.h"

namespace mpiquant {

// Adds --NAME and --no-NAME.
void add_switch(options::options_description& group, const std::string& name, const std::string& help);
// What a switch was set to by one of its two forms, or `unset`.
bool switch_value(const options::variables_map& values, const std::string& name, bool unset);

// Parses `arguments`; the words without "--" go to `positional` in order. Usage errors name the option, and the nearest one for
// an unknown one.
options::variables_map parse(const std::vector<std::string>& arguments, const options::options_description& all,
                             const std::vector<std::string>& positional, const std::string& command);

// DIR without a trailing slash, so that siblings of it can be named.
std::string plain_path(std::string path);

// The option of a field.
void add_field(options::options_description& group, const RecipeField& field);
// Options of the recipe: --config and one for each field of the table outside of `calibration`, by section.
std::vector<OptionGroup> recipe_groups();
// Options of the section `calibration`.
OptionGroup calibration_group();
// --config FILE|NAME, alone.
void add_config(options::options_description& group);

// The choices of a run: defaults, the recipe of --config over them, and the command line on top. A list on the command line
// replaces the recipe's. Throws (usage error) when they contradict each other.
RunChoices read_choices(const options::variables_map& values);

// Names of the recipes that come with the program, sorted.
std::vector<std::string> recipe_names();
// The file of a recipe: a path, or the name of one that comes with the program. Throws (usage error) with the nearest name.
std::string recipe_path(const std::string& config);

}  // namespace mpiquant
