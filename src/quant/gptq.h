#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {

// GPTQ (Frantar et al. 2022, arXiv:2210.17323). The loss of a row is Σ (w - q)² / (2 U_jj²) = ½ Δw H Δwᵀ for the H that was
// factored: with the unscaled sum over tokens, loss * 2 / tokens is the mean squared error of the row's output (plus the
// damping's share).
//
// With a correction D in the factor the swept weights are W (I + D). For D = alpha Σ(y - x)xᵀ H^-1, x the inputs of the block and
// y those of the original model, W (I + D) with alpha = 1 is the least-squares solution of W' x = W y: GPTAQ (Li et al. 2025,
// arXiv:2504.02692) with the correction of all columns taken at once. Smaller alpha fit less of what differs by chance.
std::vector<EncodedRows> convert_gptq(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor* factor,
                                      const CodecSpec& codec);

}  // namespace mpiquant
