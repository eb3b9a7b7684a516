#pragma once

#include <string>
#include <vector>

#include "src/run/quantize.h"

namespace mpiquant {

// Kept Hessians as calibration: their record goes into the outputs.
void take_kept_hessians(QuantizeRequest& request);

// Throws (usage error) when some output's Hessians follow from those of the run in a way that the model's norms do not allow
// (check_folded_norms). model: as it is stored.
void check_mapped(const QuantizeRequest& request, const ModelInput& model, const std::vector<OutputSpec>& outputs);

// Where a run's Hessians come from and go to. Throws (usage error), on every rank, when the kept ones do not serve it, or when
// there is no room for those that are to be kept. fingerprint: of the stored model. Collective over the job.
HessianUse hessian_use(Job& job, const QuantizeRequest& request, const ModelInput& model, const std::string& fingerprint,
                       const std::vector<OutputSpec>& outputs);

}  // namespace mpiquant
