#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "src/base/dtype.h"

namespace mpiquant {

using Shape = std::vector<std::int64_t>;

// Number of elements of a shape; 1 for a scalar. Throws (input error) on negative extents or overflow of int64.
std::int64_t element_count(const Shape& shape);

// Where the bytes of a buffer live. The host may touch only kHost; a backend says in which space it computes.
enum class MemSpace : std::uint8_t { kHost, kDevice };

// A typed, contiguous, row-major view; owns nothing.
template <typename Byte>
struct BasicTensorView {
  Byte* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  MemSpace space = MemSpace::kHost;

  std::int64_t count() const { return element_count(shape); }
  std::size_t bytes() const { return static_cast<std::size_t>(count()) * size_of(dtype); }
  std::span<Byte> byte_span() const { return {data, bytes()}; }
};
using TensorView = BasicTensorView<std::byte>;
using ConstTensorView = BasicTensorView<const std::byte>;

// A row-major fp32 matrix view [rows, cols] with a leading dimension, in a memory space; owns nothing.
template <typename T>
struct BasicMatrix {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t ld = 0;
  MemSpace space = MemSpace::kHost;

  T* row(std::int64_t r) const { return data + r * ld; }
  BasicMatrix row_range(std::int64_t begin, std::int64_t end) const { return {row(begin), end - begin, cols, ld, space}; }
  operator BasicMatrix<const T>() const { return {data, rows, cols, ld, space}; }
};
using Matrix = BasicMatrix<float>;
using ConstMatrix = BasicMatrix<const float>;

}  // namespace mpiquant
