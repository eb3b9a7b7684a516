#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "io/tensor_source.h"
#include "src/base/json.h"
#include "src/base/model_spec.h"
#include "src/run/job.h"
#include "src/run/pipeline.h"

namespace mpiquant {

struct EvaluatedModel {
  const ModelSpec& spec;
  const TensorSource& source;
};

// Of all scored tokens; the same numbers on any number of ranks.
struct Evaluation {
  std::int64_t tokens = 0;
  double nll = 0;  // mean negative log-likelihood, nats
  double perplexity = 0;
  // With a reference:
  bool compared = false;
  double reference_perplexity = 0;
  double kl_divergence = 0;      // mean KL(reference || model), nats
  double kl_standard_error = 0;  // of that mean
  double top1_agreement = 0;     // share of tokens whose likeliest next token is the same

  Json to_json() const;
};

// Scores tokens 1 … n-1 of each window given those before them. Windows are split over the ranks; weights are streamed layer by
// layer. Collective; job's grid has one stage. Windows of fewer than two tokens are an input error.
Evaluation evaluate(Job& job, const EvaluatedModel& model, const std::optional<EvaluatedModel>& reference,
                    const Samples& windows);

}  // namespace mpiquant
