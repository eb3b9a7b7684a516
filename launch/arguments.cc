#include "launch/arguments.h"

#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {
namespace {

[[noreturn]] void refuse_unknown(const std::string& given, const options::options_description& known,
                                 const std::string& command) {
  std::vector<std::string> names;
  for (const auto& option : known.options()) names.push_back("--" + option->long_name());
  const std::string near = nearest(given, names);
  fail(ExitCode::kUsage, "{} is no option of mpiquant {}{} (see mpiquant {} --help)", given, command,
       near.empty() ? "" : ", did you mean " + near + "?", command);
}

}  // namespace

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
  } catch (const options::unknown_option& error) {
    refuse_unknown(error.get_option_name(), all, command);
  } catch (const options::too_many_positional_options_error&) {
    fail(ExitCode::kUsage,
         "there are more arguments than mpiquant {} takes ({}) quote those with spaces, or see mpiquant {} --help", command,
         positional.size(), command);
  } catch (const options::error& error) {
    fail(ExitCode::kUsage, "{} (see mpiquant {} --help)", error.what(), command);
  }
  return values;
}

std::string plain_path(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace mpiquant
