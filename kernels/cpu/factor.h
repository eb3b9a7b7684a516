#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "src/base/threads.h"

namespace mpiquant::cpu {

// U, the upper Cholesky factor of (H + damping)^-1 in visiting order, from one Cholesky of the reversed matrix and one triangular
// inverse in fp64. hessian: packed upper triangle, row-major, [cols * (cols + 1) / 2]. Damping is a share of the mean diagonal,
// where the diagonal of a dead column counts as 1. Throws a gate error when no damping up to 1 gives a positive definite matrix.
Factor factor(ThreadPool& pool, std::span<const float> hessian, std::int64_t cols, const FactorOptions& options);

}  // namespace mpiquant::cpu
