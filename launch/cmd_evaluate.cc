#include <iostream>

#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/device.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/run/evaluate.h"
#include "src/run/fingerprint.h"
#include "src/run/model_input.h"

namespace mpiquant {
namespace {

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

bool rounds_activations(const options::variables_map& values) {
  if (values.count("activations") == 0) return false;
  const std::string& name = values["activations"].as<std::string>();
  check(name == "float" || name == "q8_0", ExitCode::kUsage, "--activations {} is unknown (known: float, q8_0)", name);
  return name == "q8_0";
}

ComputeType compute_of(const options::variables_map& values) {
  if (values.count("compute") == 0) return ComputeType::kF32;
  const std::string& name = values["compute"].as<std::string>();
  const auto type = compute_type(name);
  check(type.has_value(), ExitCode::kUsage, "--compute {} is unknown (known: f32, bf16, f16)", name);
  return *type;
}

}  // namespace

CommandPage evaluate_page() {
  OptionGroup job{"Evaluation", {}};
  job.options.add_options()                                                                                //
      ("reference", folder_value(), "original model: adds KL divergence and top-1 agreement")              //
      ("tokenizer", folder_value(), "directory of the tokenizer, where MODEL has none, by default MODEL")  //
      ("compute", hinted({.placeholder = "TYPE", .choices = {"f32", "bf16", "f16"}, .fallback = "f32"}),
       "products of activations; bf16 is faster where the processor has AVX512-BF16 or AMX, f16 is for GPUs")  //
      ("activations", hinted({.placeholder = "TYPE", .choices = {"float", "q8_0"}, .fallback = "float"}),
       "what tensors that a GGUF file holds in blocks are multiplied with; q8_0: rounded to 8 bits, as llama.cpp does on CPUs, "
       "so that "
       "its numbers come out")  //
      ("json", options::bool_switch(), "print JSON");
  return {
      "mpiquant evaluate MODEL --text FILE [OPTIONS]",
      "Perplexity of a model on a text, and with --reference its distance from another. MODEL is a directory, an id of the local "
      "Hugging Face cache, a GGUF file, or an output of this program. Layers are streamed, so memory is that of a layer; under "
      "mpirun the windows are shared out, with the same numbers on any number of ranks.",
      {job, {"Text", window_options()}, {"Device", device_options(false)}, common_group()},
      {{"perplexity as papers have it", "mpiquant evaluate MODEL --text test.txt --window 2048"},
       {"how far an output is from the original, on two ranks",
        "mpirun -n 2 mpiquant evaluate OUT/gptq --reference MODEL --text test.txt \\\n--window 512 --max-windows 64"},
       {"what llama.cpp will make of a GGUF file",
        "mpiquant evaluate OUT/MODEL-Q4_0.gguf --reference MODEL --text test.txt --activations q8_0"}},
      {}};
}

void run_evaluate(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  const CommandPage page = evaluate_page();
  ModelInput model;
  std::optional<ModelInput> reference;
  bool help = false;
  ComputeType compute = ComputeType::kF32;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"model"}, "evaluate");
    help = help_wanted(values, "evaluate", page, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    compute = compute_of(values);
    check(values.count("model") != 0, ExitCode::kUsage, "MODEL is missing (see mpiquant evaluate --help)");
    model = open_readable_model(values["model"].as<std::string>());
    if (rounds_activations(values)) round_activations_of_blocks(model);
    if (values.count("reference") != 0) reference = open_readable_model(values["reference"].as<std::string>());
  });
  if (help) return;
  require_same_files(world, model);
  if (reference) require_same_files(world, *reference);
  const int threads = thread_count(values, world);
  const Samples windows = read_windows(values, model, world);
  Grid grid = make_grid(world, 1);
  const std::unique_ptr<Backend> backend = make_backend(values, world, threads, compute);
  Job job{world, grid, *backend};
  std::optional<EvaluatedModel> against;
  if (reference) against.emplace(EvaluatedModel{reference->spec, *reference->source});
  const Evaluation result = evaluate(job, {model.spec, *model.source}, against, windows);
  if (world.rank() == 0) print(result, values["json"].as<bool>());
}

}  // namespace mpiquant
