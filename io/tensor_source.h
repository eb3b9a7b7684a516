#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/dtype.h"
#include "src/base/tensor.h"

namespace mpiquant {

struct TensorEntry {
  std::string name;
  std::string dtype_name;      // as stored: "BF16", "F8_E4M3"
  std::optional<DType> dtype;  // nothing for stored types that are no DType
  Shape shape;
  std::int64_t bytes = 0;

  std::int64_t rows() const { return shape.empty() ? 1 : shape.front(); }
};

// The tensors of a model, read piece by piece. Reading is safe from any thread.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // Sorted by name.
  virtual std::span<const TensorEntry> entries() const = 0;
  // nullptr when there is none of that name.
  const TensorEntry* find(std::string_view name) const;
  // Throws (input error) when there is none of that name.
  const TensorEntry& at(std::string_view name) const;

  // Rows [row_begin, row_end) of a float tensor [rows, …] as fp32; a 1-D tensor has rows of one element, a scalar one row.
  // out.size() is the number of elements. A tensor that is not float is an input error.
  void read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end, std::span<float> out) const;
  // Rows that are computed together from as many stored ones: ranges that begin and end at multiples of it, or at the tensor's
  // end, read no stored row twice.
  virtual std::int64_t row_block(std::string_view name) const;
  // Stored bytes [byte_offset, byte_offset + out.size()) of a tensor.
  void read_raw(std::string_view name, std::int64_t byte_offset, std::span<std::byte> out) const;
  // Bytes read from files by this process so far (headers left out).
  std::int64_t bytes_read() const { return bytes_read_; }

 protected:
  // Reads stored bytes of an entry; the range is inside the entry.
  virtual void read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const = 0;

 private:
  void read_counted(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const;

  mutable std::atomic<std::int64_t> bytes_read_{0};
};

// Index of the first NaN or infinity, or nothing.
std::optional<std::size_t> first_non_finite(std::span<const float> values);

}  // namespace mpiquant
