#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/plan/choices.h"

namespace mpiquant {

// What somebody gave for a field, with the name to call it in messages: "bits" of a file, "--bits" of the command line.
struct FieldText {
  std::string name;
  std::vector<std::string> texts;  // one, but for lists
};

enum class FieldKind : std::uint8_t {
  kValue,   // one value
  kSwitch,  // true or false; --NAME and --no-NAME
  kList,    // several values; an option that may be repeated
};

// How a shell completes a value.
enum class Completion : std::uint8_t { kNone, kFile, kFolder };

// A choice of a run: a key of recipe files and an option of the command line, read by the same code.
struct RecipeField {
  std::string_view section;  // "", "calibration", "distribution", "gates": the mapping that the key stands in
  std::string_view key;      // "group_size"
  std::string_view option;   // "group-size"
  FieldKind kind;
  std::string_view placeholder;  // "N", for pages of help
  std::string_view help;
  std::string_view example;  // a value, for the document and tests
  Completion completion;
  std::vector<std::string> (*choices)();       // the known values; null: any
  void (*set)(RunChoices&, const FieldText&);  // throws (usage error) when it is not such a value
  std::string (*shown)(const RunChoices&);     // the value as text; "" if there is none

  std::string path() const;  // "calibration.seqlen"
};

// All fields, in the order of the document, by section.
std::span<const RecipeField> recipe_fields();
// Null when there is none.
const RecipeField* find_recipe_field(std::string_view section, std::string_view key);

}  // namespace mpiquant
