#include "launch/completion.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>

#include "launch/command.h"
#include "src/base/error.h"
#include "src/base/nearest.h"

namespace mpiquant {
namespace {

using Strings = std::vector<std::string>;

CommandPage page_of(const Command& command) { return command.page == nullptr ? CommandPage{} : command.page(); }

std::vector<OptionInfo> options_of(const CommandPage& page) {
  std::vector<OptionInfo> out;
  for (const OptionGroup& group : page.groups)
    for (OptionInfo& option : describe(group.options)) out.push_back(std::move(option));
  return out;
}

// All ways to write an option: -o --output, --sym --no-sym.
Strings spellings(const OptionInfo& option) {
  Strings out;
  if (option.letter != 0) out.push_back(fmt::format("-{}", option.letter));
  out.push_back("--" + option.name);
  if (option.has_opposite) out.push_back("--no-" + option.name);
  return out;
}

// Up to the first full thought: shells show one line.
std::string brief(const std::string& help) {
  constexpr std::size_t kLongest = 72;
  std::string text = help.substr(0, help.find_first_of(";:("));
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  return text.size() <= kLongest ? text : text.substr(0, text.rfind(' ', kLongest));
}

// In single quotes of a shell.
std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}
// The same for fish, where a backslash escapes a quote.
std::string fish_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' || c == '\\' ? fmt::format("\\{}", c) : std::string(1, c);
  return out + "'";
}

std::string bash_case(const Command& command) {
  const CommandPage page = page_of(command);
  Strings words;
  // What completes a value → the options that take such a value.
  std::map<std::string, Strings> values;
  for (const OptionInfo& option : options_of(page)) {
    const Strings ways = spellings(option);
    words.insert(words.end(), ways.begin(), ways.end());
    if (!option.takes_value) continue;
    std::string action = "kind=none";
    if (option.value.completion == Completion::kFile) action = "kind=file";
    if (option.value.completion == Completion::kFolder) action = "kind=folder";
    if (!option.value.choices.empty())
      action += fmt::format(" values={}", shell_quoted(fmt::format("{}", fmt::join(option.value.choices, " "))));
    values[action].insert(values[action].end(), ways.begin(), ways.end());
  }
  std::string out =
      fmt::format("    {})\n      words={}\n", command.name, shell_quoted(fmt::format("{}", fmt::join(words, " "))));
  if (!page.words.empty())
    out += fmt::format("      kind=none values={}\n", shell_quoted(fmt::format("{}", fmt::join(page.words, " "))));
  out += "      case $previous in\n";
  for (const auto& [action, ways] : values)
    out += fmt::format("        {}) values= taken=yes {} ;;\n", fmt::join(ways, " | "), action);
  return out + "      esac\n      ;;\n";
}

std::string bash_script() {
  Strings names;
  for (const Command& command : commands()) names.emplace_back(command.name);
  std::string out = fmt::format(
      R"(# bash completion of mpiquant, made by "mpiquant completion bash"
_mpiquant() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
  # --option=value is three words to bash
  [[ $previous == = ]] && previous=${{COMP_WORDS[COMP_CWORD-2]}}
  [[ $current == = ]] && previous=${{COMP_WORDS[COMP_CWORD-1]}} current=
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 ]]; then
    mapfile -t COMPREPLY < <(compgen -W '{} --help --version' -- "$current")
    return
  fi
  local words= values= kind=file taken=
  case ${{COMP_WORDS[1]}} in
)",
      fmt::join(names, " "));
  for (const Command& command : commands()) out += bash_case(command);
  return out + R"(  esac
  if [[ $current == -* && -z $taken ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  local -a files=()
  case $kind in
    file) mapfile -t files < <(compgen -f -- "$current") ;;
    folder) mapfile -t files < <(compgen -d -- "$current") ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$values" -- "$current")
  COMPREPLY+=("${files[@]}")
  [[ ${#files[@]} -gt 0 ]] && compopt -o filenames 2>/dev/null
  return 0
}
complete -F _mpiquant mpiquant
)";
}

std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) out += c == '[' || c == ']' || c == ':' || c == '\\' ? fmt::format("\\{}", c) : std::string(1, c);
  return out;
}

std::string zsh_values(const ValueHint& value) {
  if (!value.choices.empty()) {
    const std::string choices = fmt::format("{}", fmt::join(value.choices, " "));
    return value.completion == Completion::kNone ? fmt::format("({})", choices)
                                                 : fmt::format("{{compadd -- {}; _files}}", choices);
  }
  switch (value.completion) {
    case Completion::kFile: return "_files";
    case Completion::kFolder: return "_files -/";
    case Completion::kNone: break;
  }
  return " ";
}

std::string zsh_script() {
  std::string out =
      "#compdef mpiquant\n# zsh completion of mpiquant, made by \"mpiquant completion zsh\"\n_mpiquant() {\n  local -a "
      "commands=(\n";
  for (const Command& command : commands())
    out += fmt::format("    {}\n", shell_quoted(fmt::format("{}:{}", command.name, zsh_text(command.summary))));
  out += R"(  )
  if (( CURRENT == 2 )); then
    [[ $words[2] == -* ]] && compadd -- --help --version
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
)";
  for (const Command& command : commands()) {
    const CommandPage page = page_of(command);
    out += fmt::format("    {})\n      _arguments -s", command.name);
    for (const OptionInfo& option : options_of(page))
      for (const std::string& way : spellings(option)) {
        const bool is_long = way.starts_with("--");
        const std::string value =
            option.takes_value ? fmt::format(":{}:{}", zsh_text(option.value.placeholder), zsh_values(option.value)) : "";
        const char* joined = !option.takes_value ? "" : is_long ? "=" : "+";
        out += fmt::format(" \\\n        {}",
                           shell_quoted(fmt::format("*{}{}[{}]{}", way, joined, zsh_text(brief(option.help)), value)));
      }
    const std::string words = page.words.empty() ? "_files" : fmt::format("({})", fmt::join(page.words, " "));
    out += fmt::format(" \\\n        {}\n      ;;\n", shell_quoted("*:argument:" + words));
  }
  // A file of $fpath holds the body of the function; a sourced one defines it.
  return out + R"(  esac
}
if [[ $funcstack[1] == _mpiquant ]]; then
  _mpiquant "$@"
else
  compdef _mpiquant mpiquant
fi
)";
}

std::string fish_script() {
  // A model or folder may be called as a command, so the command is the first word alone.
  std::string out = R"(# fish completion of mpiquant, made by "mpiquant completion fish"
function __fish_mpiquant_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test "$words[2]" = $argv[1]
end
function __fish_mpiquant_no_command
    test (count (commandline -opc)) -eq 1
end
complete -c mpiquant -n __fish_mpiquant_no_command -l help -d 'print what there is'
complete -c mpiquant -n __fish_mpiquant_no_command -l version -d 'print the version'
)";
  for (const Command& command : commands())
    out += fmt::format("complete -c mpiquant -n __fish_mpiquant_no_command -f -a {} -d {}\n", command.name,
                       fish_quoted(command.summary));
  for (const Command& command : commands()) {
    const std::string where = fmt::format("complete -c mpiquant -n '__fish_mpiquant_command {}'", command.name);
    const CommandPage page = page_of(command);
    if (!page.words.empty()) out += fmt::format("{} -f -a '{}'\n", where, fmt::join(page.words, " "));
    for (const OptionInfo& option : options_of(page)) {
      std::string line = fmt::format("{} -l {}", where, option.name);
      if (option.letter != 0) line += fmt::format(" -s {}", option.letter);
      if (option.takes_value && option.value.completion == Completion::kNone) line += " -x";
      if (option.value.completion == Completion::kFile) line += " -r";
      if (option.value.completion == Completion::kFolder) line += " -x -a '(__fish_complete_directories)'";
      if (!option.value.choices.empty()) line += fmt::format(" -a '{}'", fmt::join(option.value.choices, " "));
      out += fmt::format("{} -d {}\n", line, fish_quoted(brief(option.help)));
      if (option.has_opposite)
        out += fmt::format("{} -l no-{} -d {}\n", where, option.name, fish_quoted("the opposite of --" + option.name));
    }
  }
  return out;
}

struct Shell {
  const char* name;
  std::string (*script)();
};
constexpr auto kShells = std::to_array<Shell>({{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}});

}  // namespace

Strings completion_shells() {
  Strings names;
  for (const Shell& shell : kShells) names.emplace_back(shell.name);
  return names;
}

std::string completion_script(const std::string& shell) {
  for (const Shell& known : kShells)
    if (shell == known.name) return known.script();
  fail(ExitCode::kUsage, "\"{}\" is no shell that is completed here {}", shell, suggestion(shell, completion_shells()));
}

}  // namespace mpiquant
