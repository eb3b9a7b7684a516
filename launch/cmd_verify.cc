#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "src/run/job.h"
#include "src/run/verify.h"

namespace mpiquant {

CommandPage verify_page() {
  OptionGroup job{"Verification", {}};
  job.options.add_options()                                                                      //
      ("against", folder_value(), "the original model: adds the relative error of each tensor")  //
      ("json", options::bool_switch(), "print JSON");
  return {
      "mpiquant verify PATH [OPTIONS]",
      "Checks an output, or anybody's repository or GGUF file: SHA256SUMS if it is there, the headers, the shapes against the "
      "configuration, and that every tensor decodes to finite numbers. Prints a line for each problem, and ends with exit code 4 "
      "if there is one. Under mpirun the ranks share files and tensors.",
      {job, common_group()},
      {{"an output, and how far it is from the original", "mpirun -n 2 mpiquant verify OUT/gptq --against MODEL"}},
      {}};
}

void run_verify(CommandContext& context) {
  Communicator& world = context.world;
  const CommandPage page = verify_page();
  options::variables_map values;
  VerifyRequest request;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"path"}, "verify");
    help = help_wanted(values, "verify", page, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    check(values.count("path") != 0, ExitCode::kUsage, "PATH is missing (see mpiquant verify --help)");
    request.path = values["path"].as<std::string>();
    if (values.count("against") != 0) request.against = values["against"].as<std::string>();
  });
  if (help) return;
  request.threads = thread_count(values, world);
  const Verification result = verify(world, request);
  if (world.rank() == 0)
    std::cout << (values["json"].as<bool>() ? to_json(result).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"
                                            : to_text(result))
              << std::flush;
  collectively(world, [&] {
    check(result.problems.empty(), ExitCode::kCorrupt, "{}: {} problem{} (listed above) write or fetch it again", request.path,
          result.problems.size(), result.problems.size() == 1 ? "" : "s");
  });
}

}  // namespace mpiquant
