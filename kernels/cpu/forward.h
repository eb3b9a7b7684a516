#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/matmul.h"
#include "src/base/tensor.h"

namespace mpiquant::cpu {

// Forward operations on one thread, in fp32 but for the products of `linear`; all matrices are on the host. Operands may have any
// leading dimension.

// y [T, N] = x [T, K] · w [N, K]ᵀ + bias [N] (bias may be null).
void linear(const MatMul& matmul, ConstMatrix x, ConstMatrix w, const float* bias, Matrix y);

// y = x / sqrt(mean(x²) + eps) * weight by rows [T, K]; y may be x.
void rms_norm(ConstMatrix x, const float* weight, float eps, Matrix y);

// y += x.
void add(ConstMatrix x, Matrix y);

// Rotates x [tokens, heads * head_dim] in place: dimension d of a head pairs with d + head_dim / 2. Positions start at 0 in each
// of the samples, whose lengths sum to the tokens; cos and sin are [positions, head_dim / 2].
void rotary(Matrix x, std::int64_t head_dim, std::span<const std::int64_t> lengths, ConstMatrix cos, ConstMatrix sin);

// out = silu(gate) * up, where silu(g) = g / (1 + e^-g); out may be gate.
void silu_gate(ConstMatrix gate, ConstMatrix up, Matrix out);

}  // namespace mpiquant::cpu
