#include <algorithm>
#include <filesystem>
#include <iostream>

#include "io/file.h"
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/plan_model.h"
#include "launch/setup.h"
#include "launch/text_options.h"
#include "src/base/log.h"
#include "src/comm/launch_env.h"
#include "src/plan/forecast.h"
#include "src/plan/sbatch.h"
#include "src/plan/simulate.h"
#include "src/quant/method.h"
#include "src/run/measure.h"
#include "src/run/node_memory.h"
#include "src/run/rotated_model.h"
#include "src/run/run_facts.h"

namespace mpiquant {
namespace {

constexpr const char* kDefaultTopology = "cpu-core";
constexpr int kMaxRanks = 1 << 16;
constexpr double kWorthwhile = 1.25;  // twice the ranks help when they are at least so much faster
constexpr int kMaxSimulatedRanks = 64;

OptionGroup plan_group() {
  OptionGroup group{"Plan", {}};
  const auto number = [](const std::string& fallback) {
    return hinted({.placeholder = "N", .choices = {}, .fallback = fallback});
  };
  group.options.add_options()                                                                       //
      ("ranks", number("those of this job"), "ranks to plan for, on this machine")                  //
      ("nodes", number("1"), "nodes of the topology to plan for")                                   //
      ("gpus-per-node", number("those of the topology"), "ranks on each node: GPUs, or processes")  //
      ("topology",
       hinted({.placeholder = "FILE|NAME", .choices = {}, .completion = Completion::kFile, .fallback = kDefaultTopology}),
       "rates of the machine: a file of plan --calibrate, or one of configs/topologies by name")          //
      ("stage-nodes", number("0"), "one stage for so many nodes (staged schedule); 0: as --stages says")  //
      ("scale", hinted({.placeholder = "LIST", .choices = {}, .fallback = ""}),
       "instead of one plan, a line each for these numbers of ranks, as in 8,16,32, and where more stop helping")      //
      ("json", options::bool_switch(), "print JSON")                                                                   //
      ("sbatch", options::bool_switch(), "print a batch script for this plan")                                         //
      ("simulate", options::bool_switch(), "play the plan event by event and print the difference from the formulas")  //
      ("calibrate", file_value(), "measure this machine in some seconds and write its topology to this file");
  return group;
}

std::optional<int> count_of(const options::variables_map& values, const std::string& name, int least) {
  if (values.count(name) == 0) return std::nullopt;
  const std::string& text = values[name].as<std::string>();
  const bool digits = !text.empty() && text.size() <= 6 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
  const int value = digits ? std::stoi(text) : -1;
  check(value >= least && value <= kMaxRanks, ExitCode::kUsage, "--{} {} is no count (give a number from {} to {})", name, text,
        least, kMaxRanks);
  return value;
}

std::vector<int> scale_of(const std::string& text) {
  std::vector<int> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string item = text.substr(begin, end - begin);
    const bool digits =
        !item.empty() && item.size() <= 5 && std::ranges::all_of(item, [](char c) { return c >= '0' && c <= '9'; });
    check(digits && std::stoi(item) > 0, ExitCode::kUsage, "--scale {} is no list of numbers of ranks (as in 8,16,32)", text);
    out.push_back(std::stoi(item));
    begin = end + 1;
  }
  return out;
}

// Everything but the number of ranks.
struct Question {
  PlanModel model;
  Recipe recipe;
  Machine machine;
  bool here = false;  // on this machine, not on the topology's nodes
  std::vector<std::int64_t> lengths;
  int per_node = 1, threads = 1, stage_nodes = 0;
  ComputeType compute = ComputeType::kF32;
};

// A plan and its costs for so many ranks.
struct Answer {
  std::vector<OutputSpec> outputs;
  std::optional<Plan> plan;
  Forecast forecast;
};

Answer answer(const Question& question, int ranks) {
  Answer out;
  Recipe recipe = question.recipe;
  const int per_node = question.here ? ranks : question.per_node;
  if (question.stage_nodes > 0) {
    recipe.stages = std::max(1, ranks / per_node / question.stage_nodes);
    recipe.schedule = recipe.stages > 1 ? Schedule::kStaged : Schedule::kSequential;
  }
  ForecastInput input{.model = question.model.name, .shape = question.model.shape, .recipe = recipe, .machine = question.machine};
  input.samples = static_cast<std::int64_t>(question.lengths.size());
  input.length = question.lengths.empty() ? 0 : *std::ranges::max_element(question.lengths);
  input.ranks = ranks;
  input.per_node = per_node;
  input.threads = question.threads;
  input.compute = question.compute;
  if (question.model.input) {
    std::vector<std::string> notes;
    const ModelInput& stored = question.model.input->stored();
    out.outputs = resolve_outputs(recipe, stored.spec, question.model.dtypes(), notes);
    const std::vector<RunFacts> facts = run_facts(recipe, *question.model.input, out.outputs);
    out.plan = make_plan({stored.spec,
                          recipe,
                          out.outputs,
                          facts,
                          question.lengths,
                          {ranks, question.threads, ranks > 1 || launched_in_job(process_env)}});
    input.model_spec = &stored.spec;
    input.outputs = &out.outputs;
    input.plan = &*out.plan;
  }
  out.forecast = forecast(input);
  if (question.here) out.forecast.summary.memory_limit = available_memory() / ranks;
  return out;
}

void transform(Question& question) {
  check(question.model.input.has_value(), ExitCode::kUsage,
        "transforms for {} (a {} is planned by its shape alone, and can be neither quantized nor rotated here) leave it away",
        question.model.name, question.model.shape.architecture);
  question.model.input = rotated_model(std::move(*question.model.input));
}

void check_fits(const PlanSummary& summary) {
  const double lacking = memory_lacking(summary);
  constexpr double kGB = 1e9;
  check(lacking == 0, ExitCode::kUsage,
        "rank {} needs {:.2f} GB and has {:.2f} GB: {:.2f} GB too little (the run would be killed) use more ranks, fewer or "
        "shorter "
        "samples, or larger nodes",
        neediest(summary), static_cast<double>(summary.memory[neediest(summary)].total()) / kGB, summary.memory_limit / kGB,
        lacking / kGB);
}

void print_scale(const Question& question, const std::vector<int>& list, bool json) {
  constexpr double kGB = 1e9;
  Json rows = Json::array();
  std::string text = fmt::format("{:>6} {:>6} {:>6} {:>12} {:>12} {:>12} {:>10} {:>9} {:>6}\n", "ranks", "nodes", "stages",
                                 "GB a rank", "GB on wire", "GB between", "seconds", "speed-up", "fits");
  double base = 0;
  int helps = list.front();
  double best = 1e300;
  for (const int ranks : list) {
    const PlanSummary summary = answer(question, ranks).forecast.summary;
    const double memory = static_cast<double>(summary.memory[neediest(summary)].total()) / kGB;
    const double wire = (summary.estimate.within + summary.estimate.between) / kGB, seconds = summary.estimate.seconds;
    if (base == 0) base = seconds * ranks;
    if (seconds * kWorthwhile <= best) helps = ranks;
    best = std::min(best, seconds);
    const bool fits = memory_lacking(summary) == 0;
    rows.push_back({{"ranks", ranks},
                    {"nodes", summary.nodes},
                    {"stages", summary.stages},
                    {"memory", memory * kGB},
                    {"wire", wire * kGB},
                    {"wire_between_nodes", summary.estimate.between},
                    {"seconds", seconds},
                    {"fits", fits}});
    text += fmt::format("{:>6} {:>6} {:>6} {:>12.1f} {:>12.0f} {:>12.0f} {:>10.0f} {:>9.2f} {:>6}\n", ranks, summary.nodes,
                        summary.stages, memory, wire, summary.estimate.between / kGB, seconds, base / seconds / list.front(),
                        fits ? "yes" : "no");
  }
  text += fmt::format("beyond {} ranks the next step makes a run less than {} times as fast\n", helps, kWorthwhile);
  std::cout << (json ? Json{{"scale", rows}, {"helps_up_to", helps}}.dump(2) + "\n" : text) << std::flush;
}

// The arguments of the run itself, for a batch script.
std::string run_arguments(const std::vector<std::string>& arguments) {
  const std::vector<std::string> with_value = {"--ranks",    "--nodes",       "--gpus-per-node",
                                               "--topology", "--stage-nodes", "--threads"};
  std::string out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    const std::string name = word.substr(0, word.find('='));
    if (std::ranges::find(with_value, name) != with_value.end()) {
      if (name == word) ++i;
      continue;
    }
    if (word == "--json" || word == "--sbatch" || word == "--simulate") continue;
    std::string quoted = "'";
    for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
    out += " " + quoted + "'";
  }
  return out;
}

std::string batch_script(const Question& question, const PlanSummary& summary, const std::vector<std::string>& arguments) {
  const bool staged = question.stage_nodes > 0 && summary.stages > 1;
  return sbatch_script(summary, question.machine,
                       "exec \"${MPIQUANT_HOME:-$SLURM_SUBMIT_DIR}/slurm/quantize.sbatch\"" + run_arguments(arguments) +
                           (staged ? fmt::format(" --schedule staged --stages {}", summary.stages) : "") +
                           " --output \"${OUTPUT:?the directory to make}\"\n");
}

void calibrate(Communicator& world, int threads, const std::string& path) {
  Grid grid = make_grid(world, 1);
  const std::unique_ptr<Backend> backend = make_cpu_backend(threads);
  Job job{world, grid, *backend};
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  std::unique_ptr<Backend> bf16;  // where there is one
  const bool has_bf16 = !attempt([&] { bf16 = make_cpu_backend(threads, ComputeType::kBF16); });
  const Machine machine = measure_machine(job, has_bf16 ? bf16.get() : nullptr, threads, folder);
  collectively(world, [&] {
    if (world.rank() == 0) replace_text_file(path, to_yaml(machine, backend->identity()));
  });
  info_line("{} is written", path);
}

void print(const Question& question, const Answer& answer, const options::variables_map& values,
           const std::vector<std::string>& arguments) {
  const PlanSummary& summary = answer.forecast.summary;
  if (values["sbatch"].as<bool>()) {
    std::cout << batch_script(question, summary, arguments) << std::flush;
    return;
  }
  Json json = to_json(summary);
  std::string text = to_text(summary);
  if (question.here && values.count("topology") == 0)
    text += fmt::format("seconds are those of topology {}; plan --calibrate FILE measures this machine\n", kDefaultTopology);
  if (values["simulate"].as<bool>()) {
    check(summary.stages * summary.replicas <= kMaxSimulatedRanks, ExitCode::kUsage,
          "--simulate with {} ranks (it plays every message) use at most {}", summary.stages * summary.replicas,
          kMaxSimulatedRanks);
    const Simulation played = simulate(answer.forecast.program, question.machine, answer.forecast.placement);
    json["simulated_seconds"] = played.seconds;
    text += fmt::format("simulated: {:.4g} s in {} events; the formulas say {:.4g} s ({:+.1f} %)\n", played.seconds,
                        played.events, summary.estimate.seconds, 100 * (summary.estimate.seconds / played.seconds - 1));
  }
  std::cout << (values["json"].as<bool>() ? json.dump(2) + "\n" : text) << std::flush;
}

}  // namespace

CommandPage plan_page() {
  CommandPage page;
  page.usage = "mpiquant plan MODEL [OPTIONS]";
  page.about =
      "Says who would do what, and what it takes: memory by rank, bytes on the wire and on disk, seconds by phase. No weights "
      "are read. "
      "MODEL is a directory, an id of the local Hugging Face cache, a config.json, or a name of configs/models. Recipe options "
      "are those of "
      "quantize. Exit code 2 when the plan does not fit into memory.";
  page.groups.push_back(plan_group());
  for (const OptionGroup& group : recipe_groups()) page.groups.push_back(group);
  page.groups.push_back(calibration_group());
  page.groups.push_back(common_group());
  page.examples = {
      {"what a run here would take", "mpiquant plan MODEL --bits 4 --group-size 128 --ranks 2 --threads 1"},
      {"on machines one does not have", "mpiquant plan llama-3.1-405b --topology dgx-h100 --nodes 4"},
      {"where more nodes stop helping", "mpiquant plan deepseek-v3 --topology dgx-h100 --scale 8,16,32,64,128,256,512"},
      {"a batch script", "mpiquant plan MODEL --topology dgx-h100 --nodes 2 --sbatch > job.sh"},
      {"measure this machine", "mpirun -n 2 mpiquant plan --calibrate here.yaml --threads 1"}};
  return page;
}

void run_plan(CommandContext& context) {
  Communicator& world = context.world;
  options::variables_map values;
  const CommandPage page = plan_page();
  bool help = false;
  collectively(world, [&] {
    values = parse(context.arguments, page.all(), {"model"}, "plan");
    help = help_wanted(values, "plan", page, world.rank());
    if (!help) apply_common(values, world.rank());
  });
  if (help) return;
  if (values.count("calibrate") != 0) return calibrate(world, thread_count(values, world), values["calibrate"].as<std::string>());

  Question question;
  int ranks = 1;
  collectively(world, [&] {
    check(values.count("model") != 0, ExitCode::kUsage, "MODEL is missing (see mpiquant plan --help)");
    check(values.count("scale") == 0 || !values["sbatch"].as<bool>(), ExitCode::kUsage,
          "--sbatch with --scale (directives are of one number of ranks) give --nodes");
    question.here = values.count("nodes") == 0 && values.count("gpus-per-node") == 0 && values.count("scale") == 0 &&
                    (values.count("topology") == 0 || values.count("ranks") != 0);
    question.machine = find_machine(values.count("topology") != 0 ? values["topology"].as<std::string>() : kDefaultTopology);
    question.model = find_plan_model(values["model"].as<std::string>());
    question.recipe = read_choices(values).recipe;
    if (has_transforms(question.recipe)) transform(question);
    question.per_node = count_of(values, "gpus-per-node", 1).value_or(question.machine.ranks);
    question.stage_nodes = count_of(values, "stage-nodes", 0).value_or(0);
    check(question.stage_nodes == 0 || (values.count("schedule") == 0 && values.count("stages") == 0), ExitCode::kUsage,
          "--stage-nodes with --schedule or --stages (it says how many stages there are itself) leave one of them away");
    const int nodes = count_of(values, "nodes", 1).value_or(1);
    check(question.here || question.per_node <= question.machine.ranks, ExitCode::kUsage,
          "--gpus-per-node {}: a node of {} has {} (there is nothing to run more on) give fewer, or another --topology",
          question.per_node, question.machine.name, question.machine.ranks);
    check(question.stage_nodes == 0 || values.count("nodes") == 0 || nodes % question.stage_nodes == 0, ExitCode::kUsage,
          "--stage-nodes {} of --nodes {} (stages have equally many nodes) give a divisor", question.stage_nodes, nodes);
    check(values.count("ranks") == 0 || (values.count("nodes") == 0 && values.count("scale") == 0), ExitCode::kUsage,
          "--ranks with --nodes or --scale (each says how many ranks there are) keep one");
    ranks = question.here ? count_of(values, "ranks", 1).value_or(world.size()) : nodes * question.per_node;
    question.compute = question.machine.accelerated ? ComputeType::kBF16 : question.recipe.compute;
  });
  const int threads = thread_count(values, world);
  question.threads = question.here || values.count("threads") != 0 ? threads : question.machine.threads;
  const CalibrationChoice choice = read_choices(values).calibration;
  if (find_method(question.recipe.method).needs_hessian) {
    if (choice.has_source() && question.model.input) {
      for (const auto& sample : read_calibration(values, *question.model.input, world).samples)
        question.lengths.push_back(static_cast<std::int64_t>(sample.size()));
    } else {
      std::int64_t length = choice.cut.seqlen;
      if (question.model.input) length = std::min(length, question.model.input->spec.context);
      question.lengths.assign(static_cast<std::size_t>(choice.cut.nsamples), length);
    }
  }
  collectively(world, [&] {
    if (world.rank() != 0) return;
    const bool json = values["json"].as<bool>();
    if (values.count("scale") != 0) return print_scale(question, scale_of(values["scale"].as<std::string>()), json);
    const Answer planned = answer(question, ranks);
    print(question, planned, values, context.arguments);
    check_fits(planned.forecast.summary);
  });
}

}  // namespace mpiquant
