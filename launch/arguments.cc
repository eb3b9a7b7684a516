#include "launch/arguments.h"

#include <charconv>

#include "src/base/error.h"

namespace mpiquant {

void add_switch(options::options_description& group, const std::string& name, const std::string& help) {
  group.add_options()(name.c_str(), options::bool_switch(), help.c_str());
  group.add_options()(("no-" + name).c_str(), options::bool_switch(), ("the opposite of --" + name).c_str());
}

bool switch_value(const options::variables_map& values, const std::string& name, bool unset) {
  const bool yes = values[name].as<bool>();
  const bool no = values["no-" + name].as<bool>();
  check(!(yes && no), ExitCode::kUsage, "--{} and --no-{} are both given (they contradict each other) keep one", name, name);
  if (yes || no) return yes;
  return unset;
}

options::variables_map parse(const std::vector<std::string>& arguments, const options::options_description& all,
                             const std::vector<std::string>& positional, const std::string& command) {
  options::positional_options_description places;
  for (const std::string& name : positional) places.add(name.c_str(), 1);
  options::options_description known;
  known.add(all);
  for (const std::string& name : positional) known.add_options()(name.c_str(), options::value<std::string>());
  options::variables_map values;
  try {
    // No guessing: an abbreviated option would change its meaning when a longer one is added.
    const int style = options::command_line_style::default_style & ~options::command_line_style::allow_guessing;
    options::store(options::command_line_parser(arguments).options(known).positional(places).style(style).run(), values);
    options::notify(values);
  } catch (const options::error& error) {
    fail(ExitCode::kUsage, "{} (see mpiquant {} --help)", error.what(), command);
  }
  return values;
}

std::int64_t parse_size(const std::string& text, const std::string& option) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  std::int64_t scale = 0;
  if (unit.empty()) scale = 1;
  if (unit == "KB" || unit == "K") scale = 1'000;
  if (unit == "MB" || unit == "M") scale = 1'000'000;
  if (unit == "GB" || unit == "G") scale = 1'000'000'000;
  check(error == std::errc() && scale > 0 && value > 0 && !__builtin_mul_overflow(value, scale, &value), ExitCode::kUsage,
        "{} {} is no size (give bytes, or a number with KB, MB or GB, as in 5GB)", option, text);
  return value;
}

std::vector<std::string> split_commas(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace mpiquant
