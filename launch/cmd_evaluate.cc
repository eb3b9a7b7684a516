#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/run/evaluate.h"
#include "src/run/model_input.h"

namespace mpiquant {
namespace {

constexpr const char* kUsage =
    "mpiquant evaluate MODEL --text FILE [OPTIONS]\n\nMODEL is a directory, an id of the local Hugging Face cache, or an output "
    "of this program.";
constexpr const char* kExample =
    "mpirun -n 2 mpiquant evaluate OUT --reference MODEL --text test.txt --window 512 --max-windows 64";

options::options_description evaluate_options() {
  options::options_description job("Evaluation");
  job.add_options()                                                                                                      //
      ("reference", options::value<std::string>(), "original model: adds KL divergence and top-1 agreement")             //
      ("tokenizer", options::value<std::string>(), "directory of the tokenizer, where MODEL has none (default: MODEL)")  //
      ("json", options::bool_switch(), "print JSON");
  options::options_description all;
  all.add(job).add(window_options()).add(common_options());
  return all;
}

void print(const Evaluation& result, bool json) {
  if (json) {
    std::cout << result.to_json().dump() << std::endl;
    return;
  }
  std::cout << fmt::format("perplexity      {:.5f}\nnll             {:.6f} nats a token\ntokens          {}\n", result.perplexity,
                           result.nll, result.tokens);
  if (result.compared)
    std::cout << fmt::format("KL divergence   {:.6f} ± {:.6f} nats\ntop-1 agreement {:.2f} %\n", result.kl_divergence,
                             result.kl_standard_error, 100 * result.top1_agreement);
  std::cout << std::flush;
}

}  // namespace

void run_evaluate(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  const options::options_description all = evaluate_options();
  ModelInput model;
  std::optional<ModelInput> reference;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, all, {"model"}, "evaluate");
    help = help_wanted(values, all, kUsage, kExample, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    check(values.count("model") != 0, ExitCode::kUsage, "MODEL is missing (see mpiquant evaluate --help)");
    model = open_readable_model(values["model"].as<std::string>());
    if (values.count("reference") != 0) reference = open_readable_model(values["reference"].as<std::string>());
  });
  if (help) return;
  const int threads = thread_count(values, world);
  const Samples windows = read_windows(values, model, world);
  Grid grid = make_grid(world, 1);
  const std::unique_ptr<Backend> backend = make_cpu_backend(threads);
  Job job{world, grid, *backend};
  std::optional<EvaluatedModel> against;
  if (reference) against.emplace(EvaluatedModel{reference->spec, *reference->source});
  const Evaluation result = evaluate(job, {model.spec, *model.source}, against, windows);
  if (world.rank() == 0) print(result, values["json"].as<bool>());
}

}  // namespace mpiquant
