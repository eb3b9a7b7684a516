#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {

// GPTQ (Frantar et al. 2022, arXiv:2210.17323). The loss of a row is Σ (w - q)² / (2 U_jj²) = ½ Δw H Δwᵀ for the H that was
// factored: with the unscaled sum over tokens, loss * 2 / tokens is the mean squared error of the row's output (plus the
// damping's share).
std::vector<EncodedRows> convert_gptq(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor* factor,
                                      const CodecSpec& codec);

}  // namespace mpiquant
