#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {

// A host matrix that owns its values, filled with reproducible normal numbers.
struct Sample {
  Sample(std::int64_t rows_in, std::int64_t cols_in, unsigned seed)
      : rows(rows_in), cols(cols_in), values(static_cast<std::size_t>(rows * cols)) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(random);
  }
  ConstMatrix view() const { return {values.data(), rows, cols, cols, MemSpace::kHost}; }
  float& at(std::int64_t r, std::int64_t c) { return values[static_cast<std::size_t>(r * cols + c)]; }

  std::int64_t rows, cols;
  std::vector<float> values;
};

// Activations [tokens, cols] whose columns are correlated and of different size; column `dead`, if any, is zero.
inline Sample sample_activations(std::int64_t tokens, std::int64_t cols, unsigned seed, std::int64_t dead = -1) {
  Sample x(tokens, cols, seed);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < cols; ++c) {
      if (c > 0) x.at(t, c) += 0.7F * x.at(t, c - 1);
      if (c == dead) x.at(t, c) = 0;
    }
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t c = 0; c < cols; ++c) x.at(t, c) *= 0.2F + static_cast<float>((c * 7) % cols) / static_cast<float>(cols);
  return x;
}

// xᵀx as a packed upper triangle, computed in double and rounded.
inline std::vector<float> sample_hessian(const Sample& x) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < x.cols; ++i)
    for (std::int64_t j = i; j < x.cols; ++j) {
      double sum = 0;
      for (std::int64_t t = 0; t < x.rows; ++t)
        sum += static_cast<double>(x.values[static_cast<std::size_t>(t * x.cols + i)]) *
               static_cast<double>(x.values[static_cast<std::size_t>(t * x.cols + j)]);
      out.push_back(static_cast<float>(sum));
    }
  return out;
}

inline CodecSpec int_codec(int bits, std::int64_t group, bool symmetric, DType scale = DType::kF16, bool mse = false) {
  return {.kind = CodecKind::kInt, .bits = bits, .group_size = group, .symmetric = symmetric, .scale_dtype = scale, .mse = mse};
}

inline CodecSpec ggml_codec(CodecKind kind) {
  return {.kind = kind, .bits = kind == CodecKind::kQ8_0 ? 8 : 4, .group_size = 32, .symmetric = kind != CodecKind::kQ4_1};
}

}  // namespace mpiquant
