#pragma once

#include <string>
#include <vector>

#include "src/run/identity.h"
#include "src/run/quantize.h"

namespace mpiquant {

inline constexpr const char* kPropagate = "propagate";  // field of the identity: label of an output, or "original"

// Hash of the stamps of the files that hold the stored model's weights.
std::string files_stamp(const ModelInput& model);

// What must be the same when a run goes on. fingerprint: of the stored model.
Identity run_identity(const QuantizeRequest& request, const ModelInput& model, const std::string& fingerprint,
                      const std::vector<OutputSpec>& outputs);

}  // namespace mpiquant
