#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "launch/option_values.h"

namespace mpiquant {

struct OptionGroup {
  std::string title;
  options::options_description options;
};

struct Example {
  std::string what;     // "4-bit GPTQ on four ranks"
  std::string command;  // a line, or several joined by " \\\n"
};

// All that help, the man page and shell completion say about a command; its options are what it parses.
struct CommandPage {
  std::string usage;  // "mpiquant quantize MODEL --output DIR [OPTIONS]"
  std::string about;  // paragraphs, separated by empty lines
  std::vector<OptionGroup> groups;
  std::vector<Example> examples;
  std::vector<std::string> words;  // known values of the first argument that is no option; empty: a file or folder

  // The options of all groups.
  options::options_description all() const;
};

// Meaning of the exit codes, in order: the README's table.
struct ExitRow {
  int code;
  std::string_view meaning;
};
std::vector<ExitRow> exit_rows();

// True if the help of an option speaks of all its choices, or it has none: they need not be listed again.
bool names_choices(const OptionInfo& option);

// Words broken into lines of at most `width` columns, those after the first indented; paragraphs stay apart.
std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

// The page as text for a terminal, 100 columns wide.
std::string help_text(std::string_view command, std::string_view summary, const CommandPage& page);

}  // namespace mpiquant
