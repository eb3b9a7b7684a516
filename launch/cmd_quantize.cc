#include <filesystem>

#include "io/publish.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/quant/method.h"
#include "src/run/model_input.h"
#include "src/run/quantize.h"

namespace mpiquant {
namespace {

constexpr const char* kUsage =
    "mpiquant quantize MODEL --output DIR [OPTIONS]\n\nMODEL is a directory in Hugging Face layout, or an id of the local "
    "Hugging Face cache.";
constexpr const char* kExample =
    "mpirun -n 4 mpiquant quantize MODEL --bits 4 --group-size 128 --calibration text.txt --format gptq,gguf:q4_0 --output OUT";

options::options_description quantize_options() {
  options::options_description job("Job");
  job.add_options()                                                                                              //
      ("output,o", options::value<std::string>(), "directory to make; several formats get a folder each in it")  //
      ("work-dir", options::value<std::string>(), "for report.json and state (default: OUTPUT.work)")            //
      ("max-fallbacks", options::value<std::int64_t>()->default_value(-1),
       "fail with exit code 5 when more tensors than this needed a fallback; -1: no limit");
  add_switch(job, "force", "move an existing output aside and replace it");
  options::options_description all;
  all.add(job).add(recipe_options()).add(text_options()).add(common_options());
  return all;
}

std::string required(const options::variables_map& values, const std::string& name, const std::string& spelled) {
  check(values.count(name) != 0, ExitCode::kUsage, "{} is missing (see mpiquant quantize --help)", spelled);
  return values[name].as<std::string>();
}

// DIR without a trailing slash, so that siblings of it can be named.
std::string plain_path(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

}  // namespace

void run_quantize(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  const options::options_description all = quantize_options();
  QuantizeRequest request;
  ModelInput model;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, all, {"model"}, "quantize");
    help = help_wanted(values, all, kUsage, kExample, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    request.model = required(values, "model", "MODEL");
    request.output = plain_path(required(values, "output", "--output"));
    request.work_dir = values.count("work-dir") != 0 ? values["work-dir"].as<std::string>() : request.output + ".work";
    request.force = switch_value(values, "force", false);
    request.max_fallbacks = values["max-fallbacks"].as<std::int64_t>();
    request.recipe = read_recipe(values);
    grid_shape(world.size(), request.recipe.stages);
    model = open_model(request.model);
    check_output_apart(request.output, model.directory);
    check_output_free(request.output, request.force);
  });
  if (help) return;
  request.threads = thread_count(values, world);
  if (find_method(request.recipe.method).needs_hessian) request.calibration = read_calibration(values, model, world);
  Grid grid = make_grid(world, request.recipe.stages);
  const std::unique_ptr<Backend> backend = make_cpu_backend(request.threads, request.recipe.compute);
  Job job{world, grid, *backend};
  quantize(job, request, model);
}

}  // namespace mpiquant
