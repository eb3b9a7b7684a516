#pragma once

#include "io/container.h"

namespace mpiquant {

// The GPTQ format (FORMATS: GPTQ): X.qweight, X.qzeros, X.scales, X.g_idx. Symmetric outputs are checkpoint_format "gptq" (stored
// zero points are one less), asymmetric ones "gptq_v2".
const Container& gptq_container();

}  // namespace mpiquant
