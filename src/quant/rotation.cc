#include "src/quant/rotation.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "src/base/error.h"

namespace mpiquant {
namespace {

// The top bit of the index mixed by SplitMix64's finalizer (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
float sign_of(std::int64_t column) {
  std::uint64_t bits = static_cast<std::uint64_t>(column + 1) * 0x9e3779b97f4a7c15U;
  bits = (bits ^ (bits >> 30U)) * 0xbf58476d1ce4e5b9U;
  bits = (bits ^ (bits >> 27U)) * 0x94d049bb133111ebU;
  return (bits ^ (bits >> 31U)) >> 63U != 0 ? -1.0F : 1.0F;
}

// Rows [rows, width] times their signs and the scale of normalized Hadamard matrices.
template <typename T>
void scale_rows(std::span<T> values, std::size_t first_row, std::size_t width, const std::vector<float>& signs,
                std::size_t block) {
  const std::size_t rows = values.size() / width;
  const double scale = 1.0 / std::sqrt(static_cast<double>(block));
  for (std::size_t r = 0; r < rows; ++r) {
    const T factor = static_cast<T>(scale * static_cast<double>(signs[(first_row + r) % signs.size()]));
    for (T& value : values.subspan(r * width, width)) value *= factor;
  }
}

// Hadamard matrices of Sylvester's construction, which are symmetric, times whole blocks of rows [rows, width].
template <typename T>
void hadamard_rows(std::span<T> values, std::size_t width, std::size_t block) {
  const std::size_t rows = values.size() / width;
  for (std::size_t start = 0; start < rows; start += block)
    for (std::size_t half = 1; half < block; half *= 2)
      for (std::size_t i = start; i < start + block; i += 2 * half)
        for (std::size_t j = i; j < i + half; ++j) {
          T* upper = values.data() + j * width;
          T* lower = upper + half * width;
          for (std::size_t c = 0; c < width; ++c) {
            const T a = upper[c], b = lower[c];
            upper[c] = a + b;
            lower[c] = a - b;
          }
        }
}

// W ← Rᵀ W of whole blocks of rows [rows, width].
template <typename T>
void turn_blocks(std::span<T> values, std::size_t first_row, std::size_t width, const std::vector<float>& signs,
                 std::size_t block) {
  scale_rows(values, first_row, width, signs, block);
  hadamard_rows(values, width, block);
}

// W ← R W of all rows.
void turn_blocks_back(std::span<double> values, std::size_t width, const std::vector<float>& signs, std::size_t block) {
  hadamard_rows(values, width, block);
  scale_rows(values, 0, width, signs, block);
}

std::vector<double> full_matrix(const Hessian& hessian) {
  const auto n = static_cast<std::size_t>(hessian.cols);
  std::vector<double> full(n * n);
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) full[i * n + j] = full[j * n + i] = static_cast<double>(hessian.packed[at++]);
  return full;
}

void set_packed(Hessian& hessian, const std::vector<double>& full) {
  const auto n = static_cast<std::size_t>(hessian.cols);
  std::size_t at = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i; j < n; ++j) hessian.packed[at++] = static_cast<float>(full[i * n + j]);
}

}  // namespace

Rotation::Rotation(std::int64_t period) : block_(std::min(period & -period, kLargestRotationBlock)) {
  for (std::int64_t i = 0; i < period; ++i) signs_.push_back(sign_of(i));
}

// A row times R is the transpose of Rᵀ times the column.
void Rotation::turn(std::span<float> row) const { turn_blocks(row, 0, 1, signs_, static_cast<std::size_t>(block_)); }
void Rotation::turn(std::span<double> row) const { turn_blocks(row, 0, 1, signs_, static_cast<std::size_t>(block_)); }

void Rotation::turn_back(std::span<double> row) const { turn_blocks_back(row, 1, signs_, static_cast<std::size_t>(block_)); }
void Rotation::turn_rows_back(std::span<double> values, std::int64_t cols) const {
  turn_blocks_back(values, static_cast<std::size_t>(cols), signs_, static_cast<std::size_t>(block_));
}

void Rotation::turn_rows(std::span<float> values, std::int64_t first_row, std::int64_t cols) const {
  expect(first_row % block_ == 0 && std::ssize(values) % (cols * block_) == 0, "rows from {} are no whole blocks of {}",
         first_row, block_);
  turn_blocks(values, static_cast<std::size_t>(first_row), static_cast<std::size_t>(cols), signs_,
              static_cast<std::size_t>(block_));
}
void Rotation::turn_rows(std::span<double> values, std::int64_t first_row, std::int64_t cols) const {
  expect(first_row % block_ == 0 && std::ssize(values) % (cols * block_) == 0, "rows from {} are no whole blocks of {}",
         first_row, block_);
  turn_blocks(values, static_cast<std::size_t>(first_row), static_cast<std::size_t>(cols), signs_,
              static_cast<std::size_t>(block_));
}

std::map<std::string, RotatedTensor> rotated_tensors(const ModelSpec& model) {
  std::map<std::string, RotatedTensor> tensors;
  const auto add = [&](const LinearSpec& linear, const RotatedTensor& change) {
    tensors[linear.weight()] = change;
    if (linear.has_bias && change.out != 0)
      tensors[linear.bias()] = {.norm = {}, .in = 0, .out = change.out, .becomes_ones = false};
  };
  const RotatedTensor ones{.norm = {}, .in = 0, .out = 0, .becomes_ones = true};
  tensors[model.embedding] = {.norm = {}, .in = model.hidden, .out = 0, .becomes_ones = false};
  for (const LayerSpec& layer : model.layers) {
    tensors[layer.input_norm] = tensors[layer.post_attention_norm] = ones;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) switch (linear.role) {
          case Role::kQuery:
          case Role::kKey: add(linear, {.norm = layer.input_norm, .in = model.hidden, .out = 0, .becomes_ones = false}); break;
          case Role::kValue:
            add(linear, {.norm = layer.input_norm, .in = model.hidden, .out = model.head_dim, .becomes_ones = false});
            break;
          case Role::kOutput: add(linear, {.norm = {}, .in = model.head_dim, .out = model.hidden, .becomes_ones = false}); break;
          case Role::kGate:
          case Role::kUp:
            add(linear, {.norm = layer.post_attention_norm, .in = model.hidden, .out = 0, .becomes_ones = false});
            break;
          case Role::kDown: add(linear, {.norm = {}, .in = 0, .out = model.hidden, .becomes_ones = false}); break;
          case Role::kHead: fail(ExitCode::kInternal, "internal error: a head in a layer");
        }
  }
  tensors[model.final_norm] = ones;
  tensors[model.head.weight()] = {.norm = model.final_norm, .in = model.hidden, .out = 0, .becomes_ones = false};
  return tensors;
}

ModelSpec rotated_spec(const ModelSpec& model) {
  check(model.hidden % 2 == 0 && model.head_dim % 2 == 0, ExitCode::kUsage,
        "--transform rotate: hidden size {} and head size {} (no Hadamard matrix divides an odd number) leave it away",
        model.hidden, model.head_dim);
  ModelSpec rotated = model;
  rotated.tied = false;
  return rotated;
}

std::string stored_tensor(const ModelSpec& model, const std::string& rotated) {
  return model.tied && rotated == model.head.weight() ? model.embedding : rotated;
}

void check_folded_norm(const std::string& name, std::span<const float> norm) {
  constexpr float kLeastShare = 1e-6F;
  float largest = 0;
  for (const float weight : norm) largest = std::max(largest, std::abs(weight));
  for (std::size_t j = 0; j < norm.size(); ++j)
    check(
        std::abs(norm[j]) > kLeastShare * largest, ExitCode::kUsage,
        "{} is {} at {}, and up to {} elsewhere (the Hessians of the model without rotation say too little of that column to be "
        "those of the rotated one) let the activations of the rotated model pass the layers: --propagate a rotated output, or "
        "quantize it in a run of its own",
        name, norm[j], j, largest);
}

void rotate_hessian(Hessian& hessian, const RotatedTensor& linear, std::span<const float> norm) {
  if (linear.in == 0) return;
  const auto n = static_cast<std::size_t>(hessian.cols);
  std::vector<double> full = full_matrix(hessian);
  if (!linear.norm.empty()) {
    check_folded_norm(linear.norm, norm);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) full[i * n + j] /= static_cast<double>(norm[i]) * static_cast<double>(norm[j]);
  }
  const Rotation rotation(linear.in);
  for (std::size_t i = 0; i < n; ++i) rotation.turn(std::span(full).subspan(i * n, n));
  rotation.turn_rows(full, 0, hessian.cols);
  set_packed(hessian, full);
}

void unrotate_hessian(Hessian& hessian, const RotatedTensor& linear, std::span<const float> norm) {
  if (linear.in == 0) return;
  const auto n = static_cast<std::size_t>(hessian.cols);
  std::vector<double> full = full_matrix(hessian);
  const Rotation rotation(linear.in);
  for (std::size_t i = 0; i < n; ++i) rotation.turn_back(std::span(full).subspan(i * n, n));
  rotation.turn_rows_back(full, hessian.cols);
  if (!linear.norm.empty())
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) full[i * n + j] *= static_cast<double>(norm[i]) * static_cast<double>(norm[j]);
  set_packed(hessian, full);
}

}  // namespace mpiquant
