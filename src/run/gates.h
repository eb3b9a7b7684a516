#pragma once

#include <string>
#include <vector>

#include "src/plan/choices.h"
#include "src/run/record.h"

namespace mpiquant {

// Fails with exit code 5, naming the gate, when a run did more of something than its gates allow. fallbacks: all of them, a line
// each; records: of all tensors and ranks.
void check_gates(const Gates& gates, const std::vector<std::string>& fallbacks, const std::vector<TensorRecord>& records);

}  // namespace mpiquant
