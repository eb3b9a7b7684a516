#include "src/run/run_identity.h"

#include "io/file.h"
#include "io/repository.h"
#include "src/base/hash.h"
#include "src/base/version.h"
#include "src/plan/output_choice.h"
#include "src/run/fingerprint.h"

namespace mpiquant {

std::string files_stamp(const ModelInput& model) { return xxh3_hex(stamps(weight_files(model.stored()))); }

namespace {

// What outputs hold of the model's folder beside its weights and config.json.
std::string carried_files_hash(const ModelInput& model) {
  std::string all;
  for (const TextFile& file : carried_files(model.directory)) all += file.path + " " + xxh3_hex(file.content) + "\n";
  return xxh3_hex(all);
}

}  // namespace

Identity run_identity(const QuantizeRequest& request, const ModelInput& model, const std::string& fingerprint,
                      const std::vector<OutputSpec>& outputs) {
  const Recipe& recipe = request.recipe;
  const auto propagated = propagated_output(recipe, outputs);
  Xxh3 tokens;
  for (const auto& sample : request.calibration.samples) {
    tokens.update(std::as_bytes(std::span(sample)));
    tokens.update(std::as_bytes(std::span("")));
  }
  Identity identity{{"program version", std::string(version())},
                    {"model", fingerprint},
                    {"model's weight files", files_stamp(model)},
                    {"model's config.json", hash_file_xxh3(model.directory + "/config.json")},
                    {"model's tokenizer and other files", carried_files_hash(model)},
                    {"calibration", xxh3_hex(request.calibration.record.dump())},
                    {"calibration tokens", tokens.hex()},
                    {"format", to_text(recipe.outputs)},
                    {"dense_dtype", recipe.dense_dtype_given ? std::string(info(recipe.dense_dtype).torch_name) : "the model's"},
                    {"embedding_type", recipe.embedding_type},
                    {"output_type", recipe.output_type},
                    {"gguf_pre", recipe.gguf_pre},
                    {"max_shard_size", std::to_string(recipe.max_shard_bytes)},
                    {kPropagate, propagated ? outputs[*propagated].label : "original"},
                    {"hessians", request.hessians.empty() ? "of this run" : "kept ones"},
                    {"hessian sums", std::string(to_string(request.sums))}};
  const Json choices = identity_json(recipe);
  for (const auto& [field, value] : choices.items()) identity[field] = value.dump();
  return identity;
}

}  // namespace mpiquant
