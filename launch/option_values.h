#pragma once

#include <boost/program_options.hpp>

#include <string>
#include <vector>

#include "src/plan/recipe_fields.h"

namespace mpiquant {

namespace options = boost::program_options;

// What pages of help and shells say about the value of an option, beside its description.
struct ValueHint {
  std::string placeholder = "VALUE";  // "FILE"
  std::vector<std::string> choices;   // all values there are; empty: any
  Completion completion = Completion::kNone;
  std::string fallback;  // what holds when the option is not given
};

// An option's value with a hint.
class Hinted {
 public:
  explicit Hinted(ValueHint hint) : hint_(std::move(hint)) {}
  virtual ~Hinted() = default;
  const ValueHint& hint() const { return hint_; }

 private:
  ValueHint hint_;
};

// Values with hints for add_options(); program_options owns them, as those of options::value.
options::value_semantic* hinted(ValueHint hint);       // a std::string
options::value_semantic* hinted_list(ValueHint hint);  // a std::vector<std::string>, one for each time it is given
options::value_semantic* file_value();
options::value_semantic* folder_value();

// An option as pages and shells need it.
struct OptionInfo {
  std::string name;  // "group-size"
  char letter = 0;   // 'o' of -o, or 0
  std::string help;
  bool takes_value = false;
  bool has_opposite = false;  // there is --no-NAME, too
  ValueHint value;
};

// The options of a group in order; the --no-NAME of switches are folded into their NAME.
std::vector<OptionInfo> describe(const options::options_description& group);

}  // namespace mpiquant
