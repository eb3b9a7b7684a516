#include "launch/manual.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "launch/command.h"
#include "src/base/version.h"

namespace mpiquant {
namespace {

// Text that troff takes literally: a backslash is \e, a hyphen of an option \-, a line may not begin with a dot or quote.
std::string literal(std::string_view text) {
  std::string out;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
    begins = c == '\n';
  }
  return out;
}

std::string paragraphs(const std::string& text) {
  std::string out;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find("\n\n", begin), text.size());
    out += fmt::format(".PP\n{}\n", literal(wrap(std::string_view(text).substr(begin, end - begin), 120, 0)));
    begin = end + 2;
  }
  return out;
}

std::string option_entry(const OptionInfo& option) {
  std::string spelled;
  if (option.letter != 0) spelled = fmt::format("\\fB\\-{}\\fR, ", option.letter);
  spelled += fmt::format("\\fB\\-\\-{}{}\\fR", option.has_opposite ? "[no\\-]" : "", literal(option.name));
  if (option.takes_value) spelled += fmt::format(" \\fI{}\\fR", literal(option.value.placeholder));
  std::string help = option.help;
  // Names of recipes are files, so they do not belong to a page of this program.
  if (!names_choices(option) && option.value.completion == Completion::kNone)
    help += fmt::format("; one of {}", fmt::join(option.value.choices, ", "));
  if (!option.value.fallback.empty()) help += fmt::format(" (default: {})", option.value.fallback);
  return fmt::format(".TP\n{}\n{}\n", spelled, literal(wrap(help, 120, 0)));
}

std::string section(const Command& command) {
  std::string out = fmt::format(".SS {}\n{}.\n", literal(command.name), literal(command.summary));
  if (command.page == nullptr) return out;
  const CommandPage page = command.page();
  out += fmt::format(".PP\n\\fB{}\\fR\n", literal(page.usage));
  out += paragraphs(page.about);
  for (const OptionGroup& group : page.groups) {
    out += fmt::format(".PP\n\\fI{}\\fR\n", literal(group.title));
    for (const OptionInfo& option : describe(group.options)) out += option_entry(option);
  }
  if (!page.examples.empty()) out += ".PP\nExamples:\n";
  for (const Example& example : page.examples)
    out += fmt::format(".PP\n{}:\n.PP\n.nf\n.RS\n{}\n.RE\n.fi\n", literal(example.what), literal(example.command));
  return out;
}

}  // namespace

std::string manual() {
  std::string out = fmt::format(".TH MPIQUANT 1 \"\" \"mpiquant {}\" \"User Commands\"\n", version());
  out += ".SH NAME\nmpiquant \\- quantize large language models on one machine or many\n";
  out += ".SH SYNOPSIS\n\\fBmpiquant\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.br\n";
  out += "\\fBmpirun \\-n\\fR \\fIRANKS\\fR \\fBmpiquant\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]\n.br\n";
  out += "\\fBmpiquant\\fR \\fICOMMAND\\fR \\fB\\-\\-help\\fR\n";
  out += ".SH DESCRIPTION\n";
  out += literal(
      "mpiquant reads a Hugging Face model repository, spreads its layers and the calibration text over the ranks of an MPI "
      "job,\n"
      "quantizes in parallel, and writes repositories and GGUF files that other programs load as they are. The same inputs give "
      "the\n"
      "same bytes on any number of ranks and threads.\n");
  out += ".SH COMMANDS\n";
  for (const Command& command : commands()) out += section(command);
  out += ".SH EXIT STATUS\nThe same on every rank.\n";
  for (const ExitRow& row : exit_rows()) out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", row.code, literal(row.meaning));
  out += ".SH ENVIRONMENT\n";
  const std::pair<const char*, const char*> variables[] = {
      {"OMP_NUM_THREADS", "threads of each rank, where --threads is not given"},
      {"MPIQUANT_HOME", "folder that holds configs and scripts, where they are not beside the program"},
      {"NO_COLOR", "when set and not empty, nothing is printed in colour"}};
  for (const auto& [name, meaning] : variables) out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", name, literal(meaning));
  return out;
}

}  // namespace mpiquant
