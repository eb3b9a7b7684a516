#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "launch/page.h"
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
  CommandPage (*page)() = nullptr;  // what help, man page and completion say
};

// All commands, one row each (commands.cc).
std::span<const Command> commands();
// Throws (usage error) with the nearest name.
const Command& find_command(const std::string& name);

void run_quantize(CommandContext& context);
void run_plan(CommandContext& context);
void run_calibrate(CommandContext& context);
void run_evaluate(CommandContext& context);
void run_inspect(CommandContext& context);
void run_verify(CommandContext& context);
void run_report(CommandContext& context);
void run_fleet(CommandContext& context);
void run_publish(CommandContext& context);
void run_list(CommandContext& context);
void run_completion(CommandContext& context);
void run_man(CommandContext& context);

CommandPage quantize_page();
CommandPage plan_page();
CommandPage calibrate_page();
CommandPage evaluate_page();
CommandPage inspect_page();
CommandPage verify_page();
CommandPage report_page();
CommandPage fleet_page();
CommandPage publish_page();
CommandPage list_page();
CommandPage completion_page();
CommandPage man_page();

}  // namespace mpiquant
