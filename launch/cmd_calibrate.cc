#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/base/log.h"
#include "src/run/model_input.h"

namespace mpiquant {
CommandPage calibrate_page() {
  OptionGroup recipe{"Recipe", {}};
  add_config(recipe.options);
  OptionGroup output{"Output", {}};
  output.options.add_options()("json", options::bool_switch(), "print JSON");
  return {"mpiquant calibrate MODEL --calibration FILE --token-store FILE.h5 [OPTIONS]",
          "Tokenizes calibration text once, into a store that quantize --token-store reads. MODEL is a directory in Hugging Face "
          "layout, or an id of the local Hugging Face cache; its tokenizer is used.",
          {recipe, calibration_group(), output, common_group()},
          {{"128 samples of 2048 tokens",
            "mpiquant calibrate MODEL --calibration text.txt --nsamples 128 --seqlen 2048 \\\n--token-store tokens.h5"}},
          {}};
}

void run_calibrate(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  const CommandPage page = calibrate_page();
  ModelInput model;
  std::string store;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"model"}, "calibrate");
    help = help_wanted(values, "calibrate", page, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    check(values.count("model") != 0, ExitCode::kUsage, "MODEL is missing (see mpiquant calibrate --help)");
    store = read_choices(values).calibration.token_store;
    check(!store.empty(), ExitCode::kUsage, "--token-store is missing (the tokens are kept there) give a file name");
    model = open_model(values["model"].as<std::string>());
  });
  if (help) return;
  const Calibration calibration = read_calibration(values, model, world);
  std::size_t tokens = 0;
  for (const auto& sample : calibration.samples) tokens += sample.size();
  if (world.rank() != 0) return;
  if (values["json"].as<bool>())
    std::cout << Json{{"token_store", store}, {"samples", calibration.samples.size()}, {"tokens", tokens}}.dump() << std::endl;
  else
    info_line("{}: {} samples, {} tokens", store, calibration.samples.size(), tokens);
}

}  // namespace mpiquant
