#pragma once

#include <map>
#include <optional>
#include <string>

#include "src/plan/machine.h"
#include "src/plan/shape.h"
#include "src/run/model_input.h"

namespace mpiquant {

// A model that is planned for. Its weights are not read, and need not be there.
struct PlanModel {
  std::string name;
  std::optional<ModelInput> input;  // of a model that can be quantized; without weights input->source is empty
  PlanShape shape;

  std::map<std::string, DType> dtypes() const;  // of all tensors of input
};

// A directory, an id of the local cache, a config.json, or the name of a configuration that comes with the program
// (configs/models).
PlanModel find_plan_model(const std::string& argument);

// A topology file, or the name of one that comes with the program (configs/topologies). Throws (usage error) with the known
// names.
Machine find_machine(const std::string& argument);

}  // namespace mpiquant
