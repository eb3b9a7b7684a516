#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mpiquant::codec {

inline constexpr std::size_t kActivationBlock = 32;

// values [blocks * 32] as llama.cpp's CPU kernels take activations where a weight is stored in blocks (Q8_0, and Q8_1 but for its
// sums): q = round(x * 127 / max|x|) by blocks, ties to even, times max|x| / 127 in half precision.
// Source: ggml/src/ggml-cpu/arch/x86/quants.c, quantize_row_q8_0.
void round_activations(std::span<float> values);

}  // namespace mpiquant::codec
