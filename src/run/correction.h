#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/model/decoder.h"
#include "src/run/job.h"
#include "src/run/quantize.h"
#include "src/run/report.h"

namespace mpiquant {

// Whether gptaq_alpha can be followed in a run. Throws (usage error).
void check_gptaq(const QuantizeRequest& request, const std::vector<OutputSpec>& outputs, const Backend& backend);

// GPTAQ: gives the factor of a block, which every replica has, the correction by which the block's weights make up for what its
// inputs have become (src/quant/gptq.h). units, originals: this replica's units as the quantized and as the original model
// made them, with the inputs of the block; total_units: of all replicas; the owner works it out. The sums are exact, whatever the
// ranks. Collective over the replicas.
void add_correction(Job& job, std::span<const UnitState> units, std::span<const UnitState> originals, std::int64_t total_units,
                    int owner, double alpha, Factor& factor, RankReport& report);

}  // namespace mpiquant
