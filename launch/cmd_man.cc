#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/manual.h"
#include "launch/setup.h"
#include "src/run/job.h"

namespace mpiquant {

CommandPage man_page() {
  return {"mpiquant man",
          "Prints the manual page of all commands; docs/mpiquant.1 is this text.",
          {common_group()},
          {{"read it", "mpiquant man | man -l -"}},
          {}};
}

void run_man(CommandContext& context) {
  const CommandPage page = man_page();
  std::string text;
  collectively(context.world, [&] {
    const options::variables_map values = parse(context.arguments, page.all(), {}, "man");
    if (!help_wanted(values, "man", page, context.world.rank())) text = manual();
  });
  if (context.world.rank() == 0) std::cout << text << std::flush;
}

}  // namespace mpiquant
