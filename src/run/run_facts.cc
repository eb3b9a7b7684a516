#include "src/run/run_facts.h"

#include "src/base/version.h"
#include "src/plan/output_choice.h"

namespace mpiquant {

std::vector<RunFacts> run_facts(const Recipe& given, const ModelInput& model, const std::vector<OutputSpec>& outputs) {
  std::vector<RunFacts> all;
  for (const OutputChoice& output : given.outputs) {
    const Recipe recipe = recipe_of(given, output);
    RunFacts& facts = all.emplace_back();
    const ModelSpec& spec = model.form(recipe.transforms).spec;
    facts.model = &spec;
    facts.model_dir = model.directory;
    facts.model_name = model.name;
    facts.program_version = version();
    facts.method = recipe.method;
    facts.bits = recipe.bits;
    facts.group_size = recipe.group_size;
    facts.symmetric = recipe.symmetric;
    facts.transforms = recipe.transforms;
    facts.act_order = to_string(recipe.order);
    facts.damp_percent = recipe.damp_percent;
    facts.gptaq_alpha = recipe.gptaq_alpha;
    facts.true_sequential = recipe.true_sequential;
    facts.mse = recipe.mse;
    const OutputSpec& resolved = outputs[all.size() - 1];
    facts.notes = find_container(resolved.container).notes(resolved, spec);
  }
  return all;
}

}  // namespace mpiquant
