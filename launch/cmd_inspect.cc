#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "src/comm/collectives.h"
#include "src/run/inspect.h"

namespace mpiquant {

CommandPage inspect_page() {
  OptionGroup job{"Inspection", {}};
  job.options.add_options()                           //
      ("json", options::bool_switch(), "print JSON")  //
      ("tensors", options::bool_switch(), "list every tensor with its type, shape and size");
  return {
      "mpiquant inspect PATH [OPTIONS]",
      "What a model repository (plain or quantized, also other programs'), a .safetensors or a GGUF file holds: types, sizes, "
      "bits "
      "a weight, metadata, tokenizer, and the recipe and errors of an output of this program. Only headers are read. PATH may "
      "also be an id of the local Hugging Face cache.",
      {job, common_group()},
      {{"an output, with all its tensors", "mpiquant inspect OUT/gptq --tensors"},
       {"bits a weight, for a script", "mpiquant inspect model.gguf --json | jq .bits_per_weight"}},
      {}};
}

void run_inspect(CommandContext& context) {
  Communicator& world = context.world;
  const CommandPage page = inspect_page();
  std::string text;
  const auto work = [&] {
    const options::variables_map values = parse(context.arguments, page.all(), {"path"}, "inspect");
    if (help_wanted(values, "inspect", page, world.rank())) return;
    apply_common(values, world.rank());
    check(values.count("path") != 0, ExitCode::kUsage, "PATH is missing (see mpiquant inspect --help)");
    if (world.rank() != 0) return;
    const Inspection found = inspect(values["path"].as<std::string>());
    const bool tensors = values["tensors"].as<bool>();
    text = values["json"].as<bool>() ? to_json(found, tensors).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n"
                                     : to_text(found, tensors);
  };
  agree(world, attempt(work));
  std::cout << text << std::flush;
}

}  // namespace mpiquant
