#pragma once

#include <string>

#include "src/base/json.h"
#include "src/run/quantize.h"

namespace mpiquant {

// What quantize() would do, after all its checks that need no weights: ranks, memory, outputs with their sizes, and what is not
// as asked for. Writes nothing. Collective over the job.
Json dry_run(Job& job, const QuantizeRequest& request, const ModelInput& model);

// The same for people.
std::string dry_run_text(const Json& plan);

}  // namespace mpiquant
