#include "src/run/kept_hessians.h"

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/plan/output_choice.h"
#include "src/quant/method.h"
#include "src/run/rotated_model.h"
#include "src/run/run_identity.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// What Hessians depend on beside the calibration.
Identity hessian_inputs(const ModelInput& model, const std::string& fingerprint, const Backend& backend) {
  return {{"model", fingerprint},
          {"model's config.json", hash_file_xxh3(model.directory + "/config.json")},
          {"kernel set", backend.identity()}};
}

// The choices that made the weights whose activations Hessians come from; nothing for original weights.
Identity upstream_identity(const Recipe& recipe, const std::vector<OutputSpec>& outputs) {
  const auto propagated = propagated_output(recipe, outputs);
  if (!propagated) return {};
  Identity identity;
  const Json choices = identity_json(recipe_of(recipe, recipe.outputs[*propagated]));
  for (const auto& [field, value] : choices.items()) identity[field] = value.dump();
  std::string codecs;
  for (const LinearChoice& choice : outputs[*propagated].linears)
    codecs += choice.linear.module + "=" + to_string(choice.codec) + ";";
  identity["weight codecs"] = xxh3_hex(codecs);
  return identity;
}

}  // namespace

void take_kept_hessians(QuantizeRequest& request) {
  if (request.hessians.empty()) return;
  const HessianStore::Index index = HessianStore(request.hessians).index();
  request.calibration = {{}, index.calibration};
  if (index.from_original) request.recipe.propagate = "original";
}

void check_mapped(const QuantizeRequest& request, const ModelInput& model, const std::vector<OutputSpec>& outputs) {
  if (!find_method(request.recipe.method).needs_hessian) return;
  const std::vector<std::string> from =
      request.hessians.empty() ? forward_transforms(request.recipe, outputs) : HessianStore(request.hessians).index().transforms;
  const auto rotated = [](const OutputSpec& output) { return !output.transforms.empty(); };
  if (from.empty() && std::ranges::any_of(outputs, rotated)) check_folded_norms(model, quantizes_head(outputs, model.spec));
}

HessianUse hessian_use(Job& job, const QuantizeRequest& request, const ModelInput& model, const std::string& fingerprint,
                       const std::vector<OutputSpec>& outputs) {
  HessianUse use;
  use.sums = request.sums;
  use.transforms = forward_transforms(request.recipe, outputs);
  use.map = [&model](const std::vector<std::string>& to, std::int64_t layer, std::size_t block, Hessian& hessian) {
    change_hessian(model, !to.empty(), layer, block, hessian);
  };
  const Identity inputs = hessian_inputs(model, fingerprint, job.backend);
  const Identity upstream = upstream_identity(request.recipe, outputs);
  collectively(job.world, [&] {
    const bool needed = find_method(request.recipe.method).needs_hessian;
    check(needed || (!request.keep_hessians && request.hessians.empty()), ExitCode::kUsage,
          "method {} uses no Hessians (there are none to keep or to take) leave --keep-hessians and --hessians away",
          request.recipe.method);
    if (!request.hessians.empty()) {
      use.from.emplace(request.hessians);
      const HessianStore::Index index = use.from->index();
      check_usable(index, inputs, upstream);
      const auto head = static_cast<std::int64_t>(model.spec.layers.size());
      check(!quantizes_head(outputs, model.spec) || use.from->has(head, 0), ExitCode::kUsage,
            "lm_head with --hessians {} (the run that kept them left the head as it is, so that its Hessian is not there) leave "
            "it away, or keep Hessians of a run with --lm-head",
            request.hessians);
      use.tokens = index.tokens;
      use.transforms = index.transforms;
      if (job.world.rank() == 0 && index.weight_files != files_stamp(model))
        warn_line("the model's weight files have other names, sizes or times than those the kept Hessians were made with ({})",
                  "that they are the same is known from pieces of each tensor alone");
    }
    if (!request.keep_hessians) return;
    check(request.hessians.empty(), ExitCode::kUsage, "--keep-hessians with --hessians (they are kept already) leave one away");
    use.keep.emplace(request.work_dir + "/hessians");
    if (job.world.rank() != 0) return;
    HessianStore::Index index{inputs, files_stamp(model),        upstream.empty(), upstream, use.transforms,
                              0,      request.calibration.record};
    for (const auto& sample : request.calibration.samples) index.tokens += static_cast<std::int64_t>(sample.size());
    const std::int64_t bytes = hessian_store_bytes(model.spec, quantizes_head(outputs, model.spec));
    const std::int64_t missing = std::max<std::int64_t>(0, bytes - use.keep->bytes());
    const auto free = static_cast<std::int64_t>(fs::space(request.work_dir).available);
    check(missing <= free, ExitCode::kUsage,
          "the Hessians take {:.1f} MB more, and {} has {:.1f} MB free (they would not fit) free {:.1f} MB",
          1e-6 * static_cast<double>(missing), request.work_dir, 1e-6 * static_cast<double>(free),
          1e-6 * static_cast<double>(missing - free));
    use.keep->begin(index);
    info_line("Hessians are kept in {}: {:.1f} MB", use.keep->folder(), 1e-6 * static_cast<double>(bytes));
  });
  return use;
}

}  // namespace mpiquant
