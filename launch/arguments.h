#pragma once

#include <boost/program_options.hpp>

#include <string>
#include <vector>

#include "src/plan/recipe.h"

namespace mpiquant {

namespace options = boost::program_options;

// Adds --NAME and --no-NAME that set `value`.
void add_switch(options::options_description& group, const std::string& name, const std::string& help);
// The value of a switch: what the last of its two forms says, or `unset`.
bool switch_value(const options::variables_map& values, const std::string& name, bool unset);

// Parses `arguments`; the words without "--" go to `positional` in order. Usage errors name the option.
options::variables_map parse(const std::vector<std::string>& arguments, const options::options_description& all,
                             const std::vector<std::string>& positional, const std::string& command);

// "4GB", "500MB", "1000000": bytes in powers of ten.
std::int64_t parse_size(const std::string& text, const std::string& option);

std::vector<std::string> split_commas(const std::string& text);

// Options of the recipe and of its reading.
options::options_description recipe_options();
Recipe read_recipe(const options::variables_map& values);

}  // namespace mpiquant
