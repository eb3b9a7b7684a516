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

}  // namespace

void quantize(Job& job, const QuantizeRequest& request, const ModelInput& model) {
  const auto start = std::chrono::steady_clock::now();
  RankReport report;
  std::vector<std::string> notes;
  std::vector<OutputSpec> outputs;
  std::optional<Plan> plan;
  RunFacts facts = make_facts(request, model);
  std::optional<StagedDirectory> staged;
  std::string staged_path;
  collectively(job.world, [&] {
    find_method(request.recipe.method);
    outputs = resolve_outputs(request.recipe, model.spec, model.dtypes(), notes);
    std::vector<std::int64_t> lengths;
    for (const auto& sample : request.calibration.samples) lengths.push_back(static_cast<std::int64_t>(sample.size()));
    plan = make_plan({model.spec, request.recipe, outputs, facts, lengths, {job.world.size(), request.threads}});
  });
  require_same(job.world, {{"program version", std::string(version())},
                           {"kernel set", job.backend.identity()},
                           {"plan", xxh3_hex(to_json(*plan).dump())},
                           {"calibration", xxh3_hex(request.calibration.record.dump())}});
  const std::string model_hash = shared_content_hash(job, *model.source);
  facts.recipe = recipe_record(request, model, model_hash, job.backend, outputs);

  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    staged.emplace(StagedDirectory::create(request.output, request.force, model_hash.substr(0, 8)));
    staged_path = staged->path();
  });
  staged_path = broadcast_string(job.world, staged_path, 0);
  std::vector<fs::path> folders;
  for (const fs::path& folder : output_folders(outputs)) folders.push_back(fs::path(staged_path) / folder);
  OutputFiles files(*plan, outputs, model.spec, folders);
  collectively(job.world, [&] {
    if (job.world.rank() != 0) return;
    for (const fs::path& folder : folders) fs::create_directories(folder);
    files.create();
  });
  {
    const PhaseTimer timer(report, "slabs");
    write_slabs(job, *plan, *model.source, files);
  }
  Pipeline pipeline(job, model.spec, *model.source, request.recipe, outputs, *plan, request.calibration.samples, files, report);
  pipeline.run();
  collectively(job.world, [&] { files.close(); });
  report.bytes_written = files.bytes_written();
  report.bytes_read = model.source->bytes_read();

  const std::vector<TensorRecord> records = gather_records(job.world, pipeline.records());
  std::vector<std::string> found = notes;
  for (std::string& fallback : fallbacks(records)) found.push_back(std::move(fallback));
  for (const OutputSpec& output : outputs)
    for (const std::string& note : find_container(output.container).notes(output, model.spec))
      info_line("{}: {}", output.label, note);
  collectively(job.world, [&] { check_fallbacks(found, request.max_fallbacks); });
  {
    const PhaseTimer timer(report, "publish");
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      facts.tensors = tensor_facts(records, o);
      complete_output(job, folders[o], outputs[o], facts, plan->files[o], notes_of(notes, outputs[o]));
    }
    collectively(job.world, [&] {
      if (staged) staged->publish();
    });
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  write_report(job, request, *plan, report, seconds);
  info_line("{} is written in {:.1f} s", request.output, seconds);
}

}  // namespace mpiquant
