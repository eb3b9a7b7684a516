#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/base/log.h"
#include "src/run/model_input.h"

namespace mpiquant {
namespace {

constexpr const char* kUsage =
    "mpiquant calibrate MODEL --calibration FILE --token-store FILE.h5 [OPTIONS]\n\nTokenizes calibration text once; quantize "
    "--token-store reads it.";
constexpr const char* kExample =
    "mpiquant calibrate MODEL --calibration text.txt --nsamples 128 --seqlen 2048 --token-store tokens.h5";

}  // namespace

void run_calibrate(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  options::options_description all;
  all.add(text_options()).add(common_options());
  ModelInput model;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, all, {"model"}, "calibrate");
    help = help_wanted(values, all, kUsage, kExample, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    check(values.count("model") != 0, ExitCode::kUsage, "MODEL is missing (see mpiquant calibrate --help)");
    check(values.count("token-store") != 0, ExitCode::kUsage,
          "--token-store is missing (the tokens are kept there) give a file name");
    model = open_model(values["model"].as<std::string>());
  });
  if (help) return;
  const Calibration calibration = read_calibration(values, model, world);
  std::size_t tokens = 0;
  for (const auto& sample : calibration.samples) tokens += sample.size();
  info_line("{}: {} samples, {} tokens", values["token-store"].as<std::string>(), calibration.samples.size(), tokens);
}

}  // namespace mpiquant
