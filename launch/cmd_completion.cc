#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/completion.h"
#include "launch/setup.h"
#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/run/job.h"

namespace mpiquant {

CommandPage completion_page() {
  return {"mpiquant completion bash|zsh|fish",
          "Prints a script for the shell; it completes commands, options, their values and the names of recipes.",
          {common_group()},
          {{"for this shell", "source <(mpiquant completion bash)"},
           {"for every zsh, from a folder of $fpath", "mpiquant completion zsh > ~/.zfunc/_mpiquant"},
           {"for every fish", "mpiquant completion fish > ~/.config/fish/completions/mpiquant.fish"}},
          completion_shells()};
}

void run_completion(CommandContext& context) {
  const CommandPage page = completion_page();
  std::string text;
  collectively(context.world, [&] {
    const options::variables_map values = parse(context.arguments, page.all(), {"shell"}, "completion");
    if (help_wanted(values, "completion", page, context.world.rank())) return;
    check(values.count("shell") != 0, ExitCode::kUsage, "the shell is missing {}", suggestion("", completion_shells()));
    text = completion_script(values["shell"].as<std::string>());
  });
  if (context.world.rank() == 0) std::cout << text << std::flush;
}

}  // namespace mpiquant
