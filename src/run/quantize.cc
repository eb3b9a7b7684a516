#include "src/run/quantize.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "io/file.h"
#include "io/publish.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/base/version.h"
#include "src/model/weights.h"
#include "src/quant/method.h"
#include "src/run/checkpoint.h"
#include "src/run/identity.h"
#include "src/run/model_input.h"
#include "src/run/publish_run.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

RunFacts make_facts(const QuantizeRequest& request, const ModelInput& model) {
  RunFacts facts;
  facts.model = &model.spec;
  facts.model_dir = model.directory;
  facts.model_name = model.name;
  facts.program_version = version();
  facts.method = request.recipe.method;
  facts.bits = request.recipe.bits;
  facts.group_size = request.recipe.group_size;
  facts.symmetric = request.recipe.symmetric;
  facts.act_order = to_string(request.recipe.order);
  facts.damp_percent = request.recipe.damp_percent;
  facts.true_sequential = request.recipe.true_sequential;
  facts.mse = request.recipe.mse;
  return facts;
}

// What mpiquant.json says of the run: nothing that depends on other outputs, time, host or ranks.
Json recipe_record(const QuantizeRequest& request, const ModelInput& model, const std::string& model_hash, const Backend& backend,
                   const std::vector<OutputSpec>& outputs) {
  Json record = identity_json(request.recipe);
  const auto propagated = propagated_output(request.recipe, outputs);
  record["propagate"] = propagated ? outputs[*propagated].label : "original";
  record["calibration"] = request.calibration.record;
  record["model"] = {{"name", model.name}, {"content", model_hash}};
  record["compute"] = backend.identity();
  return record;
}

// Where each output goes inside the published directory: one right there, several in folders of their own.
std::vector<fs::path> output_folders(const std::vector<OutputSpec>& outputs) {
  std::vector<fs::path> folders;
  for (const OutputSpec& output : outputs) {
    std::string name = output.label;
    std::replace(name.begin(), name.end(), ':', '-');
    folders.push_back(outputs.size() == 1 ? fs::path() : fs::path(name));
  }
  return folders;
}

void check_fallbacks(const std::vector<std::string>& notes, std::int64_t limit) {
  for (const std::string& note : notes) warn_line("{}", note);
  const auto count = static_cast<std::int64_t>(notes.size());
  check(limit < 0 || count <= limit, ExitCode::kGate,
        "{} fallbacks, and --max-fallbacks allows {} (they are listed above) nothing was published", count, limit);
}

// The notes of one output, which begin with its label.
std::vector<std::string> notes_of(const std::vector<std::string>& notes, const OutputSpec& output) {
  std::vector<std::string> mine;
  for (const std::string& note : notes)
    if (note.starts_with(output.label + ": ")) mine.push_back(note);
  return mine;
}

void write_report(Job& job, const QuantizeRequest& request, const Plan& plan, RankReport& report, double seconds) {
  report.peak_memory = peak_resident_bytes();
  const std::vector<std::string> all = all_gather_strings(job.world, report.to_json().dump());
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    Json ranks = Json::array();
    for (const std::string& text : all) ranks.push_back(Json::parse(text));
    fs::create_directories(request.work_dir);
    const Json out = {
        {"seconds", seconds},       {"model", request.model},         {"output", fs::absolute(request.output).string()},
        {"ranks", ranks},           {"plan", to_json(plan)["costs"]}, {"stages", plan.stages},
        {"replicas", plan.replicas}};
    replace_text_file((fs::path(request.work_dir) / "report.json").string(), out.dump(1) + "\n");
  });
}

void write_slabs(Job& job, const Plan& plan, const TensorSource& source, OutputFiles& files) {
  collectively(job.world, [&] {
    for (const SlabPlan& slab : plan.slabs) {
      if (slab.rank != job.world.rank()) continue;
      const auto& tensor = plan.files[static_cast<std::size_t>(slab.output)][static_cast<std::size_t>(slab.file)]
                               .tensors[static_cast<std::size_t>(slab.tensor)];
      files.write_slab(slab, [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
        load_rows(source, tensor.source, static_cast<std::int64_t>(out.size()) / (end - begin), begin, end, out);
      });
    }
  });
}

// What must be the same when a run goes on.
Identity run_identity(const QuantizeRequest& request, const ModelInput& model, const std::string& model_hash,
                      const Json& record) {
  const Recipe& recipe = request.recipe;
  Xxh3 tokens;
  for (const auto& sample : request.calibration.samples) {
    tokens.update(std::as_bytes(std::span(sample)));
    tokens.update(std::as_bytes(std::span("")));
  }
  Identity identity{{"program version", std::string(version())},
                    {"model", model_hash},
                    {"model's config.json", hash_file_xxh3(model.directory + "/config.json")},
                    {"calibration", xxh3_hex(request.calibration.record.dump())},
                    {"calibration tokens", tokens.hex()},
                    {"kernel set", record["compute"].get<std::string>()},
                    {"format", fmt::format("{}", fmt::join(recipe.formats, ","))},
                    {"dense_dtype", recipe.dense_dtype_given ? std::string(info(recipe.dense_dtype).torch_name) : "the model's"},
                    {"embedding_type", recipe.embedding_type},
                    {"output_type", recipe.output_type},
                    {"gguf_pre", recipe.gguf_pre},
                    {"max_shard_size", std::to_string(recipe.max_shard_bytes)},
                    {"propagate", record["propagate"].get<std::string>()}};
  const Json choices = identity_json(recipe);
  for (const auto& [field, value] : choices.items()) identity[field] = value.dump();
  return identity;
}

// Rank 0's part in beginning or going on: the partial folder and the checkpoint.
class RunState {
 public:
  RunState(const QuantizeRequest& request, const std::string& id)
      : request_(request),
        id_(id),
        checkpoint_(request.checkpoint_dir.empty() ? request.work_dir + "/checkpoint" : request.checkpoint_dir) {}
  RunState(const RunState&) = delete;
  RunState& operator=(const RunState&) = delete;

  const Checkpoint& checkpoint() const { return checkpoint_; }
  // The path of the partial folder; resumes if the state of the same run is there.
  std::string open(const Identity& identity) {
    const auto left = request_.restart == Restart::kNever ? std::nullopt : checkpoint_.identity();
    check(left || request_.restart != Restart::kRequire, ExitCode::kUsage,
          "there is nothing to go on with in {} (--restart require asks for it) use --restart auto", checkpoint_.folder());
    if (left) {
      const auto field = difference(*left, identity);
      check(!field, ExitCode::kUsage,
            "{} differs from that of the run which was interrupted (its work in {} cannot be used) give the same again, or "
            "--restart never to discard it",
            *field, checkpoint_.folder());
    }
    resumes_ = left.has_value();
    staged_.emplace(resumes_ ? StagedDirectory::resume(request_.output, request_.force, id_)
                             : StagedDirectory::create(request_.output, request_.force, id_));
    staged_->keep(resumes_);
    return staged_->path();
  }
  // Makes the files unless they are there from the run that is resumed.
  Checkpoint::State prepare(const OutputFiles& files, const std::vector<fs::path>& folders, const Identity& identity) {
    if (resumes_ && files.complete()) return checkpoint_.state();
    if (resumes_) warn_line("{} lacks files that the checkpoint speaks of: all is made anew", staged_->path());
    for (const fs::path& folder : folders) fs::create_directories(folder);
    files.create();
    checkpoint_.begin(identity);
    staged_->keep(true);
    return {};
  }
  void publish() {
    staged_->publish();
    checkpoint_.remove();
  }
  // After a failure: what can be resumed, or was found here, stays.
  void leave(ExitCode code) {
    if (!staged_) return;
    const bool resumable = code == ExitCode::kEnvironment || code == ExitCode::kStopped;
    const bool kept = (resumable || resumes_) && checkpoint_.has_layers();
    staged_->keep(kept);
    if (kept) return info_line("what was done is kept in {}: the same command goes on from there", checkpoint_.folder());
    checkpoint_.remove();
    std::error_code not_empty;
    fs::remove(request_.work_dir, not_empty);
  }

 private:
  const QuantizeRequest& request_;
  std::string id_;
  Checkpoint checkpoint_;
  std::optional<StagedDirectory> staged_;
  bool resumes_ = false;
};

// A run as resolved on every rank.
struct Prepared {
  std::vector<OutputSpec> outputs;
  std::vector<std::string> notes;
  std::optional<Plan> plan;
  RunFacts facts;
};

Prepared prepare(Job& job, const QuantizeRequest& request, const ModelInput& model) {
  Prepared run;
  run.facts = make_facts(request, model);
  collectively(job.world, [&] {
    find_method(request.recipe.method);
    run.outputs = resolve_outputs(request.recipe, model.spec, model.dtypes(), run.notes);
    std::vector<std::int64_t> lengths;
    for (const auto& sample : request.calibration.samples) lengths.push_back(static_cast<std::int64_t>(sample.size()));
    run.plan = make_plan({model.spec, request.recipe, run.outputs, run.facts, lengths, {job.world.size(), request.threads}});
  });
  require_same(job.world, {{"program version", std::string(version())},
                           {"kernel set", job.backend.identity()},
                           {"plan", xxh3_hex(to_json(*run.plan).dump())},
                           {"calibration", xxh3_hex(request.calibration.record.dump())}});
  return run;
}

void finish_outputs(Job& job, const QuantizeRequest& request, const ModelInput& model, Prepared& run,
                    const std::vector<TensorRecord>& records, const std::vector<fs::path>& folders) {
  std::vector<std::string> found = run.notes;
  for (std::string& fallback : fallbacks(records)) found.push_back(std::move(fallback));
  for (const OutputSpec& output : run.outputs)
    for (const std::string& note : find_container(output.container).notes(output, model.spec))
      info_line("{}: {}", output.label, note);
  collectively(job.world, [&] { check_fallbacks(found, request.max_fallbacks); });
  for (std::size_t o = 0; o < run.outputs.size(); ++o) {
    run.facts.tensors = tensor_facts(records, o);
    complete_output(job, folders[o], run.outputs[o], run.facts, run.plan->files[o], notes_of(run.notes, run.outputs[o]));
  }
}

void run_to_end(Job& job, const QuantizeRequest& request, const ModelInput& model, Prepared& run, const std::string& model_hash,
                RunState& state, RankReport& report) {
  run.facts.recipe = recipe_record(request, model, model_hash, job.backend, run.outputs);
  const Identity identity = run_identity(request, model, model_hash, run.facts.recipe);
  std::string partial;
  collectively(job.world, [&] {
    if (job.world.rank() == 0) partial = state.open(identity);
  });
  partial = broadcast_string(job.world, partial, 0);
  std::vector<fs::path> folders;
  for (const fs::path& folder : output_folders(run.outputs)) folders.push_back(fs::path(partial) / folder);
  OutputFiles files(*run.plan, run.outputs, model.spec, folders);
  std::string left;
  collectively(job.world, [&] {
    if (job.world.rank() == 0) left = Checkpoint::to_json(state.prepare(files, folders, identity)).dump();
  });
  const Checkpoint::State resumed = Checkpoint::state_from(Json::parse(broadcast_string(job.world, left, 0)));
  if (!resumed.layers.empty())
    info_line("going on with {}: {} of {} layers are done", state.checkpoint().folder(), resumed.layers.size(),
              model.spec.layers.size());
  {
    const PhaseTimer timer(report, "slabs");
    write_slabs(job, *run.plan, *model.source, files);
  }
  Pipeline pipeline(job, model.spec, *model.source, request.recipe, run.outputs, *run.plan, request.calibration.samples, files,
                    state.checkpoint(), resumed, request.commit, report);
  pipeline.run();
  collectively(job.world, [&] { files.close(); });
  report.bytes_written = files.bytes_written();
  report.bytes_read = model.source->bytes_read();

  std::vector<TensorRecord> mine = pipeline.records();
  if (job.world.rank() == 0)
    for (const auto& [layer, records] : resumed.layers) mine.insert(mine.end(), records.begin(), records.end());
  const PhaseTimer timer(report, "publish");
  finish_outputs(job, request, model, run, gather_records(job.world, mine), folders);
  collectively(job.world, [&] {
    if (job.world.rank() == 0) state.publish();
  });
}

}  // namespace

void quantize(Job& job, const QuantizeRequest& request, const ModelInput& model) {
  const auto start = std::chrono::steady_clock::now();
  RankReport report;
  Prepared run = prepare(job, request, model);
  const std::string model_hash = shared_content_hash(job, *model.source);
  RunState state(request, model_hash.substr(0, 8));
  try {
    run_to_end(job, request, model, run, model_hash, state, report);
  } catch (const Error& error) {
    if (job.world.rank() == 0) state.leave(error.code());
    throw;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_report(job, request, *run.plan, report, seconds);
  info_line("{} is written in {:.1f} s", request.output, seconds);
}

}  // namespace mpiquant
