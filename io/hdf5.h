#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/base/tensor.h"

namespace mpiquant {

// State files (token stores, Hessians, hidden states) over the HDF5 C library. Any threads may use this, not two of them the same
// object; calls into the library, which is not thread-safe, take turns. Datasets are chunked with fletcher32 sums and carry no
// times, so that equal content gives equal files; file locking is off, since network file systems lack it. The first extent of a
// dataset counts its rows.

enum class Hdf5Type : std::uint8_t { kU8, kU16, kI32, kI64, kF32 };

template <typename T>
struct Hdf5TypeOf;
template <>
struct Hdf5TypeOf<std::uint8_t> : std::integral_constant<Hdf5Type, Hdf5Type::kU8> {};
template <>
struct Hdf5TypeOf<std::uint16_t> : std::integral_constant<Hdf5Type, Hdf5Type::kU16> {};
template <>
struct Hdf5TypeOf<std::int32_t> : std::integral_constant<Hdf5Type, Hdf5Type::kI32> {};
template <>
struct Hdf5TypeOf<std::int64_t> : std::integral_constant<Hdf5Type, Hdf5Type::kI64> {};
template <>
struct Hdf5TypeOf<float> : std::integral_constant<Hdf5Type, Hdf5Type::kF32> {};

// Writes a new file that appears under its name only when it is whole. Failures are environment errors with HDF5's own words.
class Hdf5Writer {
 public:
  // Begins <path>.partial.
  explicit Hdf5Writer(const std::string& path);
  Hdf5Writer(Hdf5Writer&&) noexcept;
  // Removes the partial file unless it was committed.
  ~Hdf5Writer();

  // Makes a dataset; missing groups of its name ("layer.0/q") too. Rows never written are zero.
  void create(const std::string& name, Hdf5Type type, const Shape& shape);
  // Writes whole rows, from `row_begin` on, of a dataset made with create().
  template <typename T>
  void write_rows(const std::string& name, std::int64_t row_begin, std::span<const T> values) {
    write_bytes(name, Hdf5TypeOf<T>::value, row_begin, std::as_bytes(values));
  }
  // Makes a dataset and writes all of it, so that nothing of it stays in memory.
  template <typename T>
  void write(const std::string& name, const Shape& shape, std::span<const T> values) {
    create(name, Hdf5TypeOf<T>::value, shape);
    write_rows(name, 0, values);
    end_dataset(name);
  }
  // A text of the file, at most 60,000 bytes.
  void attribute(const std::string& name, const std::string& text);
  // Ends the writing; nothing may be written afterwards. The file is not durable yet.
  void close();
  // After close(): syncs and renames.
  void publish();
  // Both.
  void commit() {
    close();
    publish();
  }

 private:
  struct State;
  void write_bytes(const std::string& name, Hdf5Type type, std::int64_t row_begin, std::span<const std::byte> values);
  void end_dataset(const std::string& name);

  std::unique_ptr<State> state_;
};

// Reads a file. What is missing, damaged (sums are checked) or of another type is an input error.
class Hdf5Reader {
 public:
  explicit Hdf5Reader(const std::string& path);
  Hdf5Reader(Hdf5Reader&&) noexcept;
  ~Hdf5Reader();

  bool has(const std::string& name) const;
  Hdf5Type type(const std::string& name) const;
  Shape shape(const std::string& name) const;
  // All values; T is the stored type.
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    std::vector<T> values(checked_count(name));
    read_bytes(name, Hdf5TypeOf<T>::value, 0, std::as_writable_bytes(std::span(values)));
    return values;
  }
  // Whole rows from `row_begin` on, as many as fill `out`.
  template <typename T>
  void read_rows(const std::string& name, std::int64_t row_begin, std::span<T> out) const {
    read_bytes(name, Hdf5TypeOf<T>::value, row_begin, std::as_writable_bytes(out));
  }
  bool has_attribute(const std::string& name) const;
  std::string attribute(const std::string& name) const;

 private:
  struct State;
  // Number of values; refuses extents that the stored bytes cannot hold.
  std::size_t checked_count(const std::string& name) const;
  void read_bytes(const std::string& name, Hdf5Type type, std::int64_t row_begin, std::span<std::byte> out) const;

  std::unique_ptr<State> state_;
};

}  // namespace mpiquant
