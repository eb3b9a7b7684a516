#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "src/model/weights.h"
#include "src/plan/plan.h"
#include "src/run/job.h"
#include "src/run/model_input.h"
#include "src/run/output_files.h"
#include "src/run/token_rows.h"

namespace mpiquant {

// Tensors of one form of the model that are in memory, by name; vectors have rows of one element.
using LoadedTensors = std::map<std::string, ConstMatrix>;
LoadedTensors loaded_tensors(const LayerSpec& layer, const LayerWeights& weights);
// By the transforms of the form.
using LoadedForms = std::map<std::vector<std::string>, LoadedTensors>;

// Writes the tensors that outputs carry over as floats: each row by the rank that the plan names, to all outputs at once.
class DenseTensors {
 public:
  // model: transformed if some output is. forward: transforms of the form whose activations pass the layers.
  DenseTensors(Job& job, const ModelInput& model, const std::vector<std::string>& forward, const std::vector<OutputSpec>& outputs,
               const Plan& plan, OutputFiles& files)
      : job_(job), model_(model), forward_(forward), outputs_(outputs), plan_(plan), files_(files) {}

  // Those of no layer. lookups: gets the embedding's rows as they pass; may be null. Collective over the job.
  void write_first(TokenRows* lookups);
  // This rank's rows of a layer's (one more after the last: of a quantized head). What is not loaded is read.
  void write_layer(std::int64_t layer, const LoadedForms& loaded);

 private:
  void write(std::int64_t layer, const LoadedForms& loaded, TokenRows* lookups);
  // The tensor's rows in the form that the target's output has, out of memory; nothing: they are not there.
  std::optional<ConstMatrix> in_memory(const SlabTarget& target, const LoadedForms& loaded) const;
  void write_read(const SlabPlan& slab, TokenRows* lookups);

  Job& job_;
  const ModelInput& model_;
  const std::vector<std::string>& forward_;
  const std::vector<OutputSpec>& outputs_;
  const Plan& plan_;
  OutputFiles& files_;
};

}  // namespace mpiquant
