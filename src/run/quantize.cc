#include "src/run/quantize.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "io/file.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/version.h"
#include "src/comm/launch_env.h"
#include "src/plan/output_choice.h"
#include "src/quant/method.h"
#include "src/run/checkpoint.h"
#include "src/run/correction.h"
#include "src/run/fingerprint.h"
#include "src/run/gates.h"
#include "src/run/identity.h"
#include "src/run/kept_hessians.h"
#include "src/run/kernel_sets.h"
#include "src/run/model_input.h"
#include "src/run/node_memory.h"
#include "src/run/publish_run.h"
#include "src/run/run_facts.h"
#include "src/run/run_identity.h"
#include "src/run/run_state.h"
#include "src/run/structure.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// What mpiquant.json says of a run with this recipe, which is that of one output: nothing that depends on other outputs (but the
// one whose weights are propagated), time, host or ranks.
Json recipe_record(const QuantizeRequest& request, const Recipe& recipe, const ModelInput& model, const std::string& fingerprint,
                   const std::string& kernels, const std::vector<OutputSpec>& outputs) {
  Json record = identity_json(recipe);
  const auto propagated = propagated_output(request.recipe, outputs);
  record["propagate"] = propagated ? outputs[*propagated].label : "original";
  record["calibration"] = request.calibration.record;
  record["model"] = {{"name", model.name}, {"fingerprint", fingerprint}};
  record["compute"] = kernels;
  return record;
}

// Where each output goes inside the published directory: one right there, several in folders of their own.
std::vector<fs::path> output_folders(const std::vector<OutputSpec>& outputs) {
  std::vector<fs::path> folders;
  for (const OutputSpec& output : outputs) folders.push_back(outputs.size() == 1 ? fs::path() : fs::path(output.folder));
  return folders;
}

// The notes of one output, which begin with its label.
std::vector<std::string> notes_of(const std::vector<std::string>& notes, const OutputSpec& output) {
  std::vector<std::string> mine;
  for (const std::string& note : notes)
    if (note.starts_with(output.label + ": ")) mine.push_back(note);
  return mine;
}

// A run as resolved on every rank.
struct Prepared {
  std::vector<OutputSpec> outputs;
  std::vector<std::string> notes;
  std::optional<Plan> plan;
  std::vector<RunFacts> facts;         // by output
  std::string kernels;                 // kernel sets of the ranks
  std::vector<TensorRecord> records;   // of all ranks, when the layers are done
  std::vector<std::string> fallbacks;  // likewise
};

void write_report(Job& job, const QuantizeRequest& request, const Prepared& run, RankReport& report, double seconds) {
  report.peak_memory = peak_resident_bytes();
  const std::vector<std::string> all = all_gather_strings(job.world, report.to_json().dump());
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    Json ranks = Json::array();
    for (const std::string& text : all) ranks.push_back(Json::parse(text));
    Json tensors = Json::array();
    for (const TensorRecord& record : run.records) tensors.push_back(to_json(record));
    Json outputs = Json::array();
    for (std::size_t o = 0; o < run.outputs.size(); ++o)
      outputs.push_back({{"label", run.outputs[o].label}, {"recipe", run.facts[o].recipe}, {"notes", run.facts[o].notes}});
    const Plan& plan = *run.plan;
    const Json out = {{"seconds", seconds},
                      {"model", request.model},
                      {"output", fs::absolute(request.output).string()},
                      {"outputs", outputs},
                      {"ranks", ranks},
                      {"plan", to_json(plan)["costs"]},
                      {"stages", plan.stages},
                      {"replicas", plan.replicas},
                      {"hessian_sums", to_string(request.sums)},
                      {"tensors", tensors},
                      {"fallbacks", run.fallbacks}};
    replace_text_file((fs::path(request.work_dir) / "report.json").string(), out.dump(1) + "\n");
  });
}

Prepared prepare(Job& job, const QuantizeRequest& request, const ModelInput& model) {
  Prepared run;
  const auto threads = static_cast<int>(max_over<std::int64_t>(job.world, request.threads));  // nodes may differ
  const ModelInput& stored = model.stored();
  collectively(job.world, [&] {
    find_method(request.recipe.method);
    run.outputs = resolve_outputs(request.recipe, stored.spec, stored.dtypes(), run.notes);
    check_gptaq(request, run.outputs, job.backend);
    if (job.world.rank() == 0) check_mapped(request, stored, run.outputs);
    check_gates(request.gates, run.notes, {});  // what is known before the work
    for (const std::string& idle : idle_choices(request.recipe, stored.spec, run.outputs)) warn_line("{}", idle);
    run.facts = run_facts(request.recipe, model, run.outputs);
    std::vector<std::int64_t> lengths;
    for (const auto& sample : request.calibration.samples) lengths.push_back(static_cast<std::int64_t>(sample.size()));
    run.plan = make_plan({stored.spec,
                          request.recipe,
                          run.outputs,
                          run.facts,
                          lengths,
                          {job.world.size(), threads, launched_in_job(process_env)}});
  });
  require_same(job.world, {{"program version", std::string(version())},
                           {"plan", xxh3_hex(to_json(*run.plan).dump())},
                           {"calibration", xxh3_hex(request.calibration.record.dump())}});
  if (run.plan->stages > 1 && !request.calibration.samples.empty() && propagated_output(request.recipe, run.outputs))
    warn_line(
        "the stages work one after another (each waits for the activations of the quantized layers before it): --propagate "
        "original "
        "lets them work at the same time");
  run.kernels = kernel_sets(job.world, job.backend.identity(), request.allow_mixed);
  check_memory(job, *run.plan);
  return run;
}

// The last look before an output gets its name: with the readers that `evaluate` and `verify` use.
void check_structure(const fs::path& folder) {
  Structure structure = read_structure(folder);
  if (structure.unreadable) structure.problems.emplace_back(structure.unreadable->what());
  if (structure.problems.empty()) return;
  fail(ExitCode::kCorrupt,
       "an output is not what was written: {} (it gets no final name) look at the disk and its file system, then run again",
       structure.problems.front());
}

// Another schedule has another default for what is propagated; an interrupted run goes on with its own.
void propagate_as_before(Job& job, QuantizeRequest& request) {
  std::string before;
  collectively(job.world, [&] {
    if (job.world.rank() != 0 || !request.recipe.propagate.empty() || request.restart == Restart::kNever) return;
    const auto identity = Checkpoint(request.work_dir + "/checkpoint").identity();
    if (!identity || !identity->contains(kPropagate)) return;
    const std::string& label = identity->at(kPropagate);
    const auto is_output = [&](const OutputChoice& output) { return output.label() == label; };
    if (label == "original" || std::ranges::any_of(request.recipe.outputs, is_output)) before = label;
  });
  before = broadcast_string(job.world, before, 0);
  if (!before.empty()) request.recipe.propagate = before;
}

void finish_outputs(Job& job, const QuantizeRequest& request, Prepared& run, const std::vector<TensorRecord>& records,
                    const std::vector<fs::path>& folders, RunningSums& sums) {
  std::vector<std::string> found = run.notes;
  for (std::string& fallback : fallbacks(records)) found.push_back(std::move(fallback));
  for (std::size_t o = 0; o < run.outputs.size(); ++o)
    for (const std::string& note : run.facts[o].notes) warn_line("{}: {}", run.outputs[o].label, note);
  for (const std::string& fallback : found) warn_line("{}", fallback);
  run.records = records;
  run.fallbacks = found;
  collectively(job.world, [&] { check_gates(request.gates, found, records); });
  for (std::size_t o = 0; o < run.outputs.size(); ++o) {
    run.facts[o].tensors = tensor_facts(records, o);
    FileSums mine;
    collectively(job.world, [&] { mine = sums.finish(o); });
    complete_output(job, folders[o], run.outputs[o], run.facts[o], std::move(mine), notes_of(run.notes, run.outputs[o]));
  }
}

// made_anew: becomes the partial folder of a run that goes on with nothing.
void run_to_end(Job& job, const QuantizeRequest& request, const ModelInput& model, Prepared& run, const std::string& fingerprint,
                RunState& state, std::string& made_anew, RankReport& report) {
  Identity identity;
  std::string partial;
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    identity = run_identity(request, model, fingerprint, run.outputs);
    partial = state.open(identity, run.kernels);
  });
  partial = broadcast_string(job.world, partial, 0);
  std::vector<fs::path> folders;
  for (const fs::path& folder : output_folders(run.outputs)) folders.push_back(fs::path(partial) / folder);
  OutputFiles files(*run.plan, run.outputs, model.stored().spec, folders, job.world.rank());
  std::string left;
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    left = Checkpoint::to_json(state.prepare(files, folders, identity)).dump();
    state.checkpoint().keep_plan(to_json(*run.plan));
  });
  const Checkpoint::State resumed = Checkpoint::state_from(Json::parse(broadcast_string(job.world, left, 0)));
  if (resumed.layers.empty()) made_anew = partial;
  files.sums().resume(resumed);
  std::string kernels = run.kernels;
  for (const auto& [layer, sets] : resumed.kernels) kernels = united_kernel_sets(kernels, sets);
  for (std::size_t o = 0; o < run.outputs.size(); ++o)
    run.facts[o].recipe =
        recipe_record(request, recipe_of(request.recipe, request.recipe.outputs[o]), model, fingerprint, kernels, run.outputs);
  if (!resumed.layers.empty())
    info_line("going on with {}: {} of {} layers are done", state.checkpoint().folder(), resumed.layers.size(),
              model.spec.layers.size());
  const HessianUse hessians = hessian_use(job, request, model.stored(), fingerprint, run.outputs);
  CommitOptions commit = request.commit;
  commit.kernels = run.kernels;
  Pipeline pipeline(job, model, request.recipe, run.outputs, *run.plan, request.calibration.samples, files, state.checkpoint(),
                    resumed, hessians, commit, report);
  pipeline.run();
  collectively(job.world, [&] { files.close(); });
  report.bytes_written = files.bytes_written();
  report.bytes_read = model.stored().source->bytes_read();

  std::vector<TensorRecord> mine = pipeline.records();
  if (job.world.rank() == 0)
    for (const auto& [layer, records] : resumed.layers) mine.insert(mine.end(), records.begin(), records.end());
  {
    const PhaseTimer timer(report, "publish");
    finish_outputs(job, request, run, gather_records(job.world, mine), folders, files.sums());
  }
  report.bytes_summed_at_front = files.sums().bytes_at_front();
  report.bytes_summed_at_end = files.sums().bytes_at_end();
  const PhaseTimer timer(report, "rename");
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    for (const fs::path& folder : folders) check_structure(folder);
    state.publish();
  });
}

}  // namespace

void quantize(Job& job, const QuantizeRequest& given, const ModelInput& model) {
  expect((model.original != nullptr) == has_transforms(given.recipe), "the model is not transformed as the recipe says");
  QuantizeRequest request = given;
  collectively(job.world, [&] { take_kept_hessians(request); });
  propagate_as_before(job, request);
  const auto start = std::chrono::steady_clock::now();
  RankReport report;
  report.rank = job.world.rank();
  std::optional<Watchdog> watchdog;
  // Waits for other ranks end by their own deadline first.
  constexpr std::chrono::seconds kAfterWaits{30};
  if (request.on_hang) watchdog.emplace(report.marks, request.hang_timeout + kAfterWaits, request.on_hang);
  require_same_files(job.world, model.stored());
  Prepared run = prepare(job, request, model);
  const std::string fingerprint = model_fingerprint(job.world, *model.stored().source);
  RunState state(request, fingerprint);
  std::string made_anew;
  try {
    run_to_end(job, request, model, run, fingerprint, state, made_anew, report);
  } catch (const AgreedError& error) {
    if (job.world.rank() == 0) state.leave(error.code());
    const bool rank_0_knows = job.grid.stage() == 0 || error.ranks() == job.world.size();
    if (!rank_0_knows && error.is_mine() && !made_anew.empty()) state.leave_for_all(error.code(), made_anew);
    throw;
  } catch (const Error& error) {
    if (job.world.rank() == 0) state.leave(error.code());
    throw;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_report(job, request, run, report, seconds);
  info_line("{} is written in {:.1f} s", request.output, seconds);
}

}  // namespace mpiquant
