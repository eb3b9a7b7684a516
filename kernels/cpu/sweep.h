#pragma once

#include "kernels/backend.h"

namespace mpiquant::cpu {

// GPTQ on up to kPartRows rows: columns in the factor's order; after step j every weight not yet visited becomes
// fma(-e_j, U_ji / U_jj, w) with e_j = w_j - value_j. A weight sees its updates in visiting order, so the result depends neither
// on blocking nor on the other rows. Group parameters: static order from the original weights, else from the weights when a group
// begins.
EncodedRows sweep(const SweepTask& task);

}  // namespace mpiquant::cpu
