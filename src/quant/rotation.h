#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/model_spec.h"
#include "src/quant/hessian.h"

namespace mpiquant {

// A power of two, as all blocks are, so that a multiple of it is one of any block.
inline constexpr std::int64_t kLargestRotationBlock = 256;

// An orthogonal matrix R that spreads large columns over others: signs on the diagonal, then normalized Hadamard matrices along
// it (QuaRot, arXiv 2404.00456, section 3; random signs as QuIP#, arXiv 2402.04396, section 3). It repeats after `period`
// columns, so that a head's rotation is that of every head. Which signs: a constant of the program.
class Rotation {
 public:
  explicit Rotation(std::int64_t period);

  // Columns of a Hadamard matrix: the largest power of two that divides the period, at most kLargestRotationBlock, so that rows
  // of Rᵀ W follow from as many rows of W.
  std::int64_t block() const { return block_; }

  // x ← x R of a row; its size is a multiple of the period.
  void turn(std::span<float> row) const;
  void turn(std::span<double> row) const;
  // x ← x Rᵀ.
  void turn_back(std::span<double> row) const;
  // W ← rows of Rᵀ W [rows, cols], of rows [first_row, …) of W; first_row and the number of rows are multiples of the block.
  void turn_rows(std::span<float> values, std::int64_t first_row, std::int64_t cols) const;
  void turn_rows(std::span<double> values, std::int64_t first_row, std::int64_t cols) const;
  // W ← R W of all rows.
  void turn_rows_back(std::span<double> values, std::int64_t cols) const;

 private:
  std::int64_t block_;
  std::vector<float> signs_;  // of a period
};

// What becomes of a tensor when the model is rotated. W [rows, cols]: W ← Rᵀ_out · W · diag(norm) · R_in.
struct RotatedTensor {
  std::string norm;           // whose weights are multiplied into the columns, as its own become ones; empty: none
  std::int64_t in = 0;        // period of the columns' rotation; 0: none
  std::int64_t out = 0;       // of the rows' (a bias has rows alone)
  bool becomes_ones = false;  // a norm whose weights moved into the linears behind it
};

// What recipes and outputs call it.
inline constexpr std::string_view kRotation = "rotate";

// By tensor. The residual stream is rotated (R₁ of SpinQuant, arXiv 2405.16406), and each head's values (R₂): the network
// computes the same function, and its linears have inputs without outliers. The head of a tied model is no longer its embedding.
std::map<std::string, RotatedTensor> rotated_tensors(const ModelSpec& model);
ModelSpec rotated_spec(const ModelSpec& model);
// The tensor of the model that one of the rotated model is made of.
std::string stored_tensor(const ModelSpec& model, const std::string& rotated);

// Throws (usage error) where the Hessians of the model without rotation say too little of a column: its norm weight is zero, or
// so small that sums in steps of the largest diagonal lose it.
void check_folded_norm(const std::string& name, std::span<const float> norm);
// Hessian of a linear's input after the rotation, from that before: Rᵀ D⁻¹ H D⁻¹ R with D = diag(norm). norm: of cols elements,
// or empty. Throws as check_folded_norm does.
void rotate_hessian(Hessian& hessian, const RotatedTensor& linear, std::span<const float> norm);
// Back: D R H Rᵀ D.
void unrotate_hessian(Hessian& hessian, const RotatedTensor& linear, std::span<const float> norm);

}  // namespace mpiquant
