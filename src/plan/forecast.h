#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "src/plan/machine.h"
#include "src/plan/plan.h"
#include "src/plan/program.h"
#include "src/plan/summary.h"

namespace mpiquant {

// A question: this model by this recipe on so many ranks of such a machine.
struct ForecastInput {
  std::string model;  // name, for the answer
  const PlanShape& shape;
  const Recipe& recipe;
  const Machine& machine;
  std::int64_t samples = 0;  // of calibration; 0 for methods without
  std::int64_t length = 0;
  int ranks = 1, per_node = 1, threads = 1;
  ComputeType compute = ComputeType::kF32;
  // Of a model that can be quantized here; all or none. Without them work and files follow from the shape.
  const ModelSpec* model_spec = nullptr;
  const Plan* plan = nullptr;
  const std::vector<OutputSpec>* outputs = nullptr;
};

struct Forecast {
  PlanSummary summary;
  Program program;
  Placement placement;
};

// Throws (usage error) when ranks and stages do not fit each other or the model.
Forecast forecast(const ForecastInput& input);

}  // namespace mpiquant
