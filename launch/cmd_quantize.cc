#include <iostream>

#include "io/file.h"
#include "io/publish.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/device.h"
#include "launch/run_options.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/base/hash.h"
#include "src/quant/method.h"
#include "src/run/dry_run.h"
#include "src/run/identity.h"
#include "src/run/model_input.h"
#include "src/run/quantize.h"
#include "src/run/rotated_model.h"
#include "src/run/stage_weights.h"

namespace mpiquant {
namespace {

OptionGroup job_group() {
  OptionGroup group{"Job", {}};
  group.options.add_options()                                                                     //
      ("output,o", folder_value(), "directory to make; several outputs get a folder each in it")  //
      ("work-dir", folder_value(), "for report.json and state, by default OUTPUT.work")           //
      ("stage-dir", folder_value(),
       "node-local directory that one rank of each node first copies the weights to; a copy that is there is used, and stays")  //
      ("dry-run", options::bool_switch(), "print plan, memory and sizes after all checks, and write nothing")                   //
      ("json", options::bool_switch(), "print the plan of --dry-run, or the report of the run, as JSON");
  add_switch(group.options, "force", "replace an existing output: it is removed when the new one is in its place (default: no)");
  return group;
}

std::string required(const options::variables_map& values, const std::string& name, const std::string& spelled) {
  check(values.count(name) != 0, ExitCode::kUsage, "{} is missing (see mpiquant quantize --help)", spelled);
  return values[name].as<std::string>();
}

// Of all choices: ranks that read different recipe files are found before they work.
std::string fingerprint(const RunChoices& choices) {
  std::string text = identity_json(choices.recipe).dump();
  for (const RecipeField& field : recipe_fields()) text += fmt::format("\n{} = {}", field.path(), field.shown(choices));
  return xxh3_hex(text);
}

}  // namespace

CommandPage quantize_page() {
  CommandPage page;
  page.usage = "mpiquant quantize MODEL --output DIR [OPTIONS]";
  page.about =
      "Quantizes a model and writes repositories and GGUF files. MODEL is a directory in Hugging Face layout, or an id of the "
      "local Hugging Face cache. The output appears when it is whole; under mpirun or srun the ranks share the work, and the "
      "bytes are the same on any number of them.\n\n"
      "One output goes to --output itself, several to a folder each in it, called as their format or their name. What is an "
      "output's own stands in brackets after its format: name, bits, group_size, sym, mse, transforms, ragged, lm_head, untie, "
      "dense_dtype, "
      "embedding_type, output_type, gguf_pre and max_shard_size as in recipe files, and rule=PATTERN:CHOICE, which is looked at "
      "before --rule. A value with commas stands in brackets of its own: gptq[rule=[*.down_proj:bits=8,sym=false],name=mixed].";
  page.groups.push_back(job_group());
  for (const OptionGroup& group : recipe_groups()) page.groups.push_back(group);
  page.groups.push_back(calibration_group());
  page.groups.push_back({"Restart", run_options()});
  page.groups.push_back({"Device", device_options(true)});
  page.groups.push_back(common_group());
  page.examples = {
      {"4-bit GPTQ on four ranks, as a GPTQ repository and a GGUF file",
       "mpirun -n 4 mpiquant quantize MODEL --bits 4 --group-size 128 \\\n--calibration text.txt --format gptq,gguf:q4_0 "
       "--output OUT"},
      {"two widths of GPTQ and a GGUF file from one calibration",
       "mpiquant quantize MODEL --calibration text.txt --output OUT \\\n--format "
       "'gptq,gptq[bits=3,group_size=64,name=small],gguf:q4_0'"},
      {"a recipe that comes with the program, with one change",
       "mpiquant quantize MODEL --config gptq-4bit-g128 --mse --output OUT"},
      {"what it would take, without doing it", "mpiquant quantize MODEL --config gptq-4bit-g128 --output OUT --dry-run"},
      {"8-bit GGUF without calibration", "mpiquant quantize MODEL --method rtn --format gguf:q8_0 --output OUT"}};
  return page;
}

// Files and folders that the run reads beside the model.
std::vector<std::string> files_read(const RunChoices& choices, const std::string& hessians) {
  std::vector<std::string> paths;
  for (const std::string& file : choices.calibration.files)
    if (!file.starts_with("hf:")) paths.push_back(file);
  for (const std::string& path : {choices.calibration.ids, choices.calibration.token_store, hessians})
    if (!path.empty()) paths.push_back(path);
  return paths;
}

void run_quantize(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  const CommandPage page = quantize_page();
  QuantizeRequest request;
  RunChoices choices;
  ModelInput model;
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"model"}, "quantize");
    help = help_wanted(values, "quantize", page, world.rank());
    if (help) return;
    apply_common(values, world.rank());
    request.model = required(values, "model", "MODEL");
    request.output = plain_path(required(values, "output", "--output"));
    request.work_dir = values.count("work-dir") != 0 ? values["work-dir"].as<std::string>() : default_work_dir(request.output);
    request.force = switch_value(values, "force", false);
    choices = read_choices(values);
    request.recipe = choices.recipe;
    request.gates = choices.gates;
    grid_shape(world.size(), request.recipe.stages);
    apply_run_options(values, world, request);
    model = open_model(request.model);
    check_output_apart(request.output, model.directory);
    check_output_free(request.output, request.force);
    check_output_replaceable(request.output, files_read(choices, request.hessians));
    check_work_dir(request.work_dir, request.output, model.directory);
  });
  if (help) return;
  require_same(world, {{"recipe", fingerprint(choices)}});
  if (values.count("stage-dir") != 0 && !values["dry-run"].as<bool>())
    stage_weights(world, model, values["stage-dir"].as<std::string>());
  collectively(world, [&] { model = as_needed(std::move(model), request.recipe); });
  request.threads = thread_count(values, world);
  const bool dry = values["dry-run"].as<bool>();
  const bool json = values["json"].as<bool>();
  if (find_method(request.recipe.method).needs_hessian && request.hessians.empty())
    request.calibration = read_calibration(values, model, world, dry ? StoreUse::kReadOnly : StoreUse::kReadOrWrite);
  Grid grid = make_grid(world, request.recipe.stages);
  const std::unique_ptr<Backend> backend = make_backend(values, world, request.threads, request.recipe.compute);
  connect_devices(values, *backend, grid);
  Job job{world, grid, *backend};
  if (dry) {
    const Json plan = dry_run(job, request, model);
    if (world.rank() == 0) std::cout << (json ? plan.dump() + "\n" : dry_run_text(plan)) << std::flush;
    return;
  }
  quantize(job, request, model);
  if (json && world.rank() == 0) std::cout << read_text_file(request.work_dir + "/report.json") << std::flush;
}

}  // namespace mpiquant
