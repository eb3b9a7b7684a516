#include "launch/option_values.h"

#include <algorithm>

namespace mpiquant {
namespace {

template <typename T>
class HintedValue final : public options::typed_value<T>, public Hinted {
 public:
  explicit HintedValue(ValueHint hint) : options::typed_value<T>(nullptr), Hinted(std::move(hint)) {}
};

// "N (=128)" of program_options, or "arg" for a value without a name.
ValueHint plain_hint(const std::string& format) {
  ValueHint hint;
  const std::size_t begin = format.find(" (=");
  const std::string name = format.substr(0, begin);
  if (name != "arg") hint.placeholder = name;
  if (begin != std::string::npos) hint.fallback = format.substr(begin + 3, format.rfind(')') - begin - 3);
  return hint;
}

}  // namespace

options::value_semantic* hinted(ValueHint hint) { return new HintedValue<std::string>(std::move(hint)); }

options::value_semantic* hinted_list(ValueHint hint) {
  auto* value = new HintedValue<std::vector<std::string>>(std::move(hint));
  value->composing();
  return value;
}

options::value_semantic* file_value() {
  return hinted({.placeholder = "FILE", .choices = {}, .completion = Completion::kFile, .fallback = ""});
}
options::value_semantic* folder_value() {
  return hinted({.placeholder = "DIR", .choices = {}, .completion = Completion::kFolder, .fallback = ""});
}

std::vector<OptionInfo> describe(const options::options_description& group) {
  std::vector<OptionInfo> out;
  for (const auto& option : group.options()) {
    OptionInfo info;
    info.name = option->long_name();
    if (info.name.starts_with("no-")) {
      const auto positive =
          std::find_if(out.begin(), out.end(), [&](const OptionInfo& other) { return "no-" + other.name == info.name; });
      if (positive != out.end()) {
        positive->has_opposite = true;
        continue;
      }
    }
    const std::string spelled = option->format_name();  // "-o [ --output ]"
    if (spelled.starts_with('-') && !spelled.starts_with("--")) info.letter = spelled[1];
    info.help = option->description();
    info.takes_value = option->semantic()->max_tokens() > 0;
    if (const auto* hint = dynamic_cast<const Hinted*>(option->semantic().get()))
      info.value = hint->hint();
    else if (info.takes_value)
      info.value = plain_hint(option->format_parameter());
    out.push_back(std::move(info));
  }
  return out;
}

}  // namespace mpiquant
