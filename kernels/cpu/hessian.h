#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/matmul.h"
#include "src/base/tensor.h"
#include "src/base/threads.h"

namespace mpiquant::cpu {

// The largest diagonal element of xᵀx for x [tokens, cols]; infinite or NaN when x is not finite.
float diagonal_max(ConstMatrix x);

// sum += round(xᵀx * 2^exponent) for each unit x [tokens, cols], where xᵀx is made by `matmul`. sum is the packed upper triangle,
// row-major, [cols * (cols + 1) / 2]. The caller chose the exponent so that |xᵀx * 2^exponent| <= 2^51 and no sum overflows.
void hessian_add(ThreadPool& pool, const MatMul& matmul, std::span<const ConstMatrix> units, int exponent,
                 std::span<std::int64_t> sum);

// sum [cols, cols] += round((y - x)ᵀx * 2^exponent) for each unit x and original y [tokens, cols], where y - x is made in fp32
// and its products by `matmul`. The bounds are those of hessian_add.
void cross_add(ThreadPool& pool, const MatMul& matmul, std::span<const ConstMatrix> units, std::span<const ConstMatrix> originals,
               int exponent, std::span<std::int64_t> sum);

}  // namespace mpiquant::cpu
