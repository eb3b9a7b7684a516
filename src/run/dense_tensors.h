#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "io/tensor_source.h"
#include "src/model/weights.h"
#include "src/plan/plan.h"
#include "src/run/job.h"
#include "src/run/output_files.h"
#include "src/run/token_rows.h"

namespace mpiquant {

// Tensors that are in memory as the model has them, by name; vectors have rows of one element.
using LoadedTensors = std::map<std::string, ConstMatrix>;
LoadedTensors loaded_tensors(const LayerSpec& layer, const LayerWeights& weights);

// Writes the tensors that outputs carry over as floats: each row by the rank that the plan names, to all outputs at once.
class DenseTensors {
 public:
  DenseTensors(Job& job, const ModelSpec& model, const Plan& plan, const TensorSource& source, OutputFiles& files)
      : job_(job), model_(model), plan_(plan), source_(source), files_(files) {}

  // Those of no layer. lookups: gets the embedding's rows as they pass; may be null. Collective over the job.
  void write_first(TokenRows* lookups);
  // This rank's rows of a layer's (one more after the last: of a quantized head). What is not loaded is read.
  void write_layer(std::int64_t layer, const LoadedTensors& loaded);

 private:
  void write(std::int64_t layer, const LoadedTensors& loaded, TokenRows* lookups);
  void write_read(const SlabPlan& slab, const std::string& tensor, TokenRows* lookups);

  Job& job_;
  const ModelSpec& model_;
  const Plan& plan_;
  const TensorSource& source_;
  OutputFiles& files_;
};

}  // namespace mpiquant
