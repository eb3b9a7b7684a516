#include "io/hdf5_handle.h"

#include <string_view>
#include <vector>

namespace mpiquant::hdf5 {
namespace {

std::mutex& library() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

Turn::Turn() : lock_(library()) {}

Reason last_reason() {
  std::vector<std::string> words;  // the innermost last
  const auto append = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->emplace_back(error->desc == nullptr ? error->func_name : error->desc);
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, append, &words);
  H5Eclear2(H5E_DEFAULT);
  for (const std::string& text : words) {
    // "file read failed: time = …, errno = 5, error message = 'Input/output error', buf = …"
    constexpr std::string_view kMark = "error message = '";
    const std::size_t mark = text.find(kMark);
    if (mark == std::string::npos || text.find("errno = ") == std::string::npos) continue;
    const std::size_t begin = mark + kMark.size();
    return {text.substr(begin, text.find('\'', begin) - begin), true};
  }
  return {words.empty() ? "no reason given" : "HDF5: " + words.back(), false};
}

Handle access_properties() {
  // After a failed write HDF5's own cleaning up at exit crashes, and would hide the error. Fails, harmlessly, when called again.
  H5dont_atexit();
  const std::string what = "file access properties";
  checked(H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr), ExitCode::kEnvironment, "set up", what);
  Handle properties(checked(H5Pcreate(H5P_FILE_ACCESS), ExitCode::kEnvironment, "set up", what), H5Pclose);
  checked(H5Pset_file_locking(properties, 0, 1), ExitCode::kEnvironment, "set up", what);
  checked(H5Pset_fclose_degree(properties, H5F_CLOSE_STRONG), ExitCode::kEnvironment, "set up", what);
  return properties;
}

hid_t native_type(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::kU8: return H5T_NATIVE_UINT8;
    case Hdf5Type::kU16: return H5T_NATIVE_UINT16;
    case Hdf5Type::kI32: return H5T_NATIVE_INT32;
    case Hdf5Type::kI64: return H5T_NATIVE_INT64;
    case Hdf5Type::kF32: return H5T_NATIVE_FLOAT;
  }
  fail(ExitCode::kInternal, "internal error: HDF5 type {}", static_cast<int>(type));
}

std::size_t bytes_of(Hdf5Type type) { return H5Tget_size(native_type(type)); }

Handle make_space(const Shape& shape, const std::string& path) {
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  const hid_t space = H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr);
  return {checked(space, ExitCode::kEnvironment, "describe a dataset of", path), H5Sclose};
}

void select_rows(hid_t space, const Shape& shape, std::int64_t row_begin, std::int64_t rows, const std::string& path) {
  std::vector<hsize_t> start(shape.size(), 0);
  std::vector<hsize_t> count(shape.begin(), shape.end());
  start[0] = static_cast<hsize_t>(row_begin);
  count[0] = static_cast<hsize_t>(rows);
  checked(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), ExitCode::kEnvironment,
          "select rows in", path);
}

std::int64_t row_elements(const Shape& shape) { return element_count(Shape(shape.begin() + 1, shape.end())); }

}  // namespace mpiquant::hdf5
