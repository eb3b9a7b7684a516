#include "launch/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::size_t kWidth = 100;
constexpr std::size_t kHelpColumn = 28;

// "  -o, --output DIR", "      --[no-]sym"
std::string spelled(const OptionInfo& option) {
  std::string text = option.letter == 0 ? "      " : fmt::format("  -{}, ", option.letter);
  text += option.has_opposite ? "--[no-]" : "--";
  text += option.name;
  if (option.takes_value) text += " " + option.value.placeholder;
  return text;
}

std::string explained(const OptionInfo& option) {
  std::string text = option.help;
  std::string more;
  if (!names_choices(option)) more = fmt::format("{}", fmt::join(option.value.choices, ", "));
  if (!option.value.fallback.empty()) more += fmt::format("{}default: {}", more.empty() ? "" : "; ", option.value.fallback);
  if (!more.empty()) text += fmt::format(" ({})", more);
  return text;
}

std::string option_lines(const OptionInfo& option) {
  std::string left = spelled(option);
  left += left.size() + 1 < kHelpColumn ? std::string(kHelpColumn - left.size(), ' ') : "\n" + std::string(kHelpColumn, ' ');
  return left + wrap(explained(option), kWidth - kHelpColumn, kHelpColumn) + "\n";
}

std::string indented(const std::string& lines) {
  std::string out = "  ";
  for (const char c : lines) out += c == '\n' ? std::string("\n      ") : std::string(1, c);
  return out;
}

}  // namespace

bool names_choices(const OptionInfo& option) {
  return std::ranges::all_of(option.value.choices,
                             [&](const std::string& choice) { return option.help.find(choice) != std::string::npos; });
}

options::options_description CommandPage::all() const {
  options::options_description out;
  for (const OptionGroup& group : groups) out.add(group.options);
  return out;
}

std::vector<ExitRow> exit_rows() {
  return {{static_cast<int>(ExitCode::kDone), "done"},
          {static_cast<int>(ExitCode::kInternal), "internal error"},
          {static_cast<int>(ExitCode::kUsage), "the command line, the recipe, or a plan that cannot fit"},
          {static_cast<int>(ExitCode::kInput), "an input is invalid"},
          {static_cast<int>(ExitCode::kCorrupt), "an output is corrupt"},
          {static_cast<int>(ExitCode::kGate), "a quality gate, or a fallback that is not allowed"},
          {static_cast<int>(ExitCode::kEnvironment), "files, memory, network or a rank failed; the run can be resumed"},
          {static_cast<int>(ExitCode::kStopped), "stopped on request; the run can be resumed"}};
}

std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string out;
  std::size_t column = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    if (text.substr(at, 2) == "\n\n") {
      out += "\n\n" + std::string(indent, ' ');
      column = 0;
      at += 2;
      continue;
    }
    if (text[at] == ' ' || text[at] == '\n') {
      ++at;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::string_view word = text.substr(at, end - at);
    if (column > 0 && column + 1 + word.size() > width) {
      out += "\n" + std::string(indent, ' ');
      column = 0;
    }
    if (column > 0) out += ' ', ++column;
    out += word;
    column += word.size();
    at = end;
  }
  return out;
}

std::string help_text(std::string_view command, std::string_view summary, const CommandPage& page) {
  std::string out = fmt::format("mpiquant {}: {}\n\nusage: {}\n", command, summary, page.usage);
  if (!page.about.empty()) out += "\n" + wrap(page.about, kWidth, 0) + "\n";
  for (const OptionGroup& group : page.groups) {
    out += fmt::format("\n{}:\n", group.title);
    for (const OptionInfo& option : describe(group.options)) out += option_lines(option);
  }
  if (!page.examples.empty()) out += "\nExamples:\n";
  for (const Example& example : page.examples) out += fmt::format("  # {}\n{}\n", example.what, indented(example.command));
  out += "\nExit codes, the same on every rank:\n";
  for (const ExitRow& row : exit_rows()) out += fmt::format("  {:>2}  {}\n", row.code, row.meaning);
  return out;
}

}  // namespace mpiquant
