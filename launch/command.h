#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/comm/communicator.h"

namespace mpiquant {

// What a command gets: its arguments (without program and command name) and the ranks of the job.
struct CommandContext {
  std::vector<std::string> arguments;
  Communicator& world;
};

struct Command {
  std::string_view name;
  std::string_view summary;
  void (*run)(CommandContext& context);
};

// All commands, one row each (commands.cc).
std::span<const Command> commands();

void run_quantize(CommandContext& context);
void run_calibrate(CommandContext& context);
void run_evaluate(CommandContext& context);

}  // namespace mpiquant
