#pragma once

#include <span>
#include <string>
#include <vector>

#include "src/plan/recipe_fields.h"

namespace mpiquant {

// Outputs as a recipe file and the command line give them. On the command line one is FORMAT or FORMAT[KEY=VALUE,…], as
// gptq[bits=3,group_size=64,name=small]; commas inside brackets are part of what the innermost brackets hold, so that a value
// with commas is put into brackets of its own: gptq[rule=[*.down_proj:bits=8,group_size=32]]. Errors are usage errors.

// Keys of the recipe that an output may have of its own, beside its name and rules.
std::vector<std::string> own_keys();

// Sets an output's own value for a key of own_keys(), checked as that of the whole recipe is. given.name: for messages.
void set_own(OutputChoice& output, const std::string& key, const FieldText& given);
void set_name(OutputChoice& output, const FieldText& given);
// Checks that all its own values have an effect on its format.
void check_output(const OutputChoice& output);
// Checks that outputs are told apart by their labels and folders.
void check_labels(const std::vector<OutputChoice>& outputs);

// The outputs of texts with one or several each, separated by commas. `name` is what they were given as ("--format").
std::vector<OutputChoice> parse_outputs(std::span<const std::string> texts, const std::string& name);
std::vector<OutputChoice> parse_outputs(const std::string& text);
// As the command line spells them; two outputs that differ have different texts.
std::string to_text(const OutputChoice& output);
std::string to_text(const std::vector<OutputChoice>& outputs);

// The recipe of a run with this output alone: its own values over those of `recipe`, its rules before those.
Recipe recipe_of(const Recipe& recipe, const OutputChoice& output);

}  // namespace mpiquant
