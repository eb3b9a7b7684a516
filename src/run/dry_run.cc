#include "src/run/dry_run.h"

#include <map>

#include "src/base/hash.h"
#include "src/comm/launch_env.h"
#include "src/run/correction.h"
#include "src/run/gates.h"
#include "src/run/identity.h"
#include "src/run/kept_hessians.h"
#include "src/run/kernel_sets.h"
#include "src/run/run_facts.h"

namespace mpiquant {
namespace {

constexpr double kGB = 1e9;

Json output_row(const OutputSpec& output, const std::vector<FilePlan>& files) {
  Json row = {{"format", output.label},
              {"quantized_linears", output.linears.size()},
              {"codecs", Json::object()},
              {"bytes", 0},
              {"files", Json::array()}};
  std::map<std::string, std::int64_t> codecs;  // linears of each
  for (const LinearChoice& choice : output.linears) ++codecs[to_string(choice.codec)];
  row["codecs"] = codecs;
  std::int64_t total = 0;
  for (const FilePlan& file : files) {
    row["files"].push_back({{"path", file.path}, {"bytes", file.bytes}});
    total += file.bytes;
  }
  row["bytes"] = total;
  return row;
}

}  // namespace

Json dry_run(Job& job, const QuantizeRequest& request, const ModelInput& model) {
  Json out;
  const auto threads = static_cast<int>(max_over<std::int64_t>(job.world, request.threads));  // nodes may differ
  const ModelInput& stored = model.stored();
  collectively(job.world, [&] {
    std::vector<std::string> notes;
    const std::vector<OutputSpec> outputs = resolve_outputs(request.recipe, stored.spec, stored.dtypes(), notes);
    propagated_output(request.recipe, outputs);
    check_gptaq(request, outputs, job.backend);
    if (job.world.rank() == 0) check_mapped(request, stored, outputs);
    check_gates(request.gates, notes, {});
    for (std::string& idle : idle_choices(request.recipe, stored.spec, outputs)) notes.push_back(std::move(idle));
    std::vector<std::int64_t> lengths;
    std::int64_t tokens = 0;
    for (const auto& sample : request.calibration.samples) {
      lengths.push_back(static_cast<std::int64_t>(sample.size()));
      tokens += lengths.back();
    }
    const std::vector<RunFacts> facts = run_facts(request.recipe, model, outputs);
    for (std::size_t o = 0; o < outputs.size(); ++o)
      for (const std::string& note : facts[o].notes) notes.push_back(outputs[o].label + ": " + note);
    const Plan plan = make_plan(
        {stored.spec, request.recipe, outputs, facts, lengths, {job.world.size(), threads, launched_in_job(process_env)}});
    out = {{"model", request.model},
           {"output", request.output},
           {"recipe", identity_json(request.recipe)},
           {"calibration", {{"samples", lengths.size()}, {"tokens", tokens}}},
           {"ranks", job.world.size()},
           {"stages", plan.stages},
           {"replicas", plan.replicas},
           {"plan", xxh3_hex(to_json(plan).dump())},
           {"memory", Json::array()},
           {"outputs", Json::array()},
           {"notes", notes}};
    for (const RankCost& cost : plan.costs) out["memory"].push_back(cost.memory);
    for (std::size_t o = 0; o < outputs.size(); ++o) out["outputs"].push_back(output_row(outputs[o], plan.files[o]));
  });
  require_same(job.world, {{"plan", out["plan"].get<std::string>()}});
  kernel_sets(job.world, job.backend.identity(), request.allow_mixed);
  return out;
}

std::string dry_run_text(const Json& plan) {
  const Json& recipe = plan["recipe"];
  std::string text =
      fmt::format("{}, {} samples of {} tokens in all\n", recipe["method"].get<std::string>(),
                  plan["calibration"]["samples"].get<std::int64_t>(), plan["calibration"]["tokens"].get<std::int64_t>());
  text += fmt::format("{} ranks: {} stages of {}\n", plan["ranks"].get<int>(), plan["stages"].get<int>(),
                      plan["replicas"].get<int>());
  int rank = 0;
  for (const Json& bytes : plan["memory"])
    text += fmt::format("  rank {:<4} {:8.3f} GB of memory\n", rank++, bytes.get<double>() / kGB);
  for (const Json& output : plan["outputs"]) {
    text += fmt::format("{}: {:.6f} GB, {} linears quantized\n", output["format"].get<std::string>(),
                        output["bytes"].get<double>() / kGB, output["quantized_linears"].get<std::int64_t>());
    for (const auto& [codec, linears] : output["codecs"].items())
      text += fmt::format("  {:<40} {:>8} linears\n", codec, linears.get<std::int64_t>());
    for (const Json& file : output["files"])
      text += fmt::format("  {:<40} {:>14} bytes\n", file["path"].get<std::string>(), file["bytes"].get<std::int64_t>());
  }
  for (const Json& note : plan["notes"]) text += fmt::format("note: {}\n", note.get<std::string>());
  return text +
         fmt::format("all checks before the weights are passed; nothing is written to {}\n", plan["output"].get<std::string>());
}

}  // namespace mpiquant
