#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/backend.h"

namespace mpiquant::cpu {

// A matrix on the host as products read it: itself, or a copy in the compute type. The matrix outlives it.
struct Operand {
  ConstMatrix matrix;
  BackendBuffer rounded;  // [rows, cols] bfloat16; nothing in fp32
};

// Products on the calling thread alone, summed in fp32. A result depends on the operands and the library named by identity().
class MatMul {
 public:
  virtual ~MatMul() = default;
  virtual std::string identity() const = 0;
  virtual Operand operand(ConstMatrix x) const = 0;
  // See Backend::chunk_tokens.
  virtual std::int64_t chunk_tokens() const = 0;
  // y [M, N] = x [M, K] · w [N, K]ᵀ, none of them 0.
  virtual void by_transpose(const Operand& x, const Operand& w, Matrix y) const = 0;
  // y [M, N] = columns [a_first, a_first + M) of a [T, K], transposed, by columns [b_first, b_first + N) of b [T, K].
  virtual void cross(const Operand& a, std::int64_t a_first, const Operand& b, std::int64_t b_first, Matrix y) const = 0;
  // Width of the tiles in which a whole Gram matrix is best made.
  virtual std::int64_t gram_tile() const = 0;
  // y [M, N] = columns [first, first + M) of x [T, K], transposed, by columns [second, second + N) of it. Where these are the
  // same columns, only the upper triangle of y is meant.
  virtual void gram(const Operand& x, std::int64_t first, std::int64_t second, Matrix y) const = 0;
};

// Throws (usage error) when this processor or this build has no instructions for the type, so that products in it would be slower
// than in fp32.
std::unique_ptr<MatMul> make_matmul(ComputeType type);

std::unique_ptr<MatMul> make_f32_matmul();
std::unique_ptr<MatMul> make_bf16_matmul();

}  // namespace mpiquant::cpu
