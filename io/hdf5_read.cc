#include <algorithm>
#include <array>

#include "io/file.h"
#include "io/hdf5_handle.h"

namespace mpiquant {
namespace {

constexpr ExitCode kReadError = ExitCode::kInput;
// No filter packs more tightly (deflate: 1032), so larger extents are hostile.
constexpr std::uint64_t kMaxRatio = 1100;

constexpr std::array kHdf5Types = {Hdf5Type::kU8, Hdf5Type::kU16, Hdf5Type::kI32, Hdf5Type::kI64, Hdf5Type::kF32};

}  // namespace

struct Hdf5Reader::State {
  std::string path;
  hdf5::Handle file;

  hdf5::Handle open(const std::string& name) const {
    const hid_t dataset = H5Dopen2(file, name.c_str(), H5P_DEFAULT);
    return {hdf5::checked(dataset, kReadError, fmt::format("find the dataset {} in", name).c_str(), path), H5Dclose};
  }

  Shape shape(hid_t dataset) const {
    const hdf5::Handle space(hdf5::checked(H5Dget_space(dataset), kReadError, "read", path), H5Sclose);
    const int rank = hdf5::checked(H5Sget_simple_extent_ndims(space), kReadError, "read", path);
    std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
    hdf5::checked(H5Sget_simple_extent_dims(space, extents.data(), nullptr), kReadError, "read", path);
    Shape shape;
    for (const hsize_t extent : extents) {
      check(extent <= static_cast<hsize_t>(INT64_MAX), kReadError, "{} has a dataset of {} rows (the file is damaged)", path,
            extent);
      shape.push_back(static_cast<std::int64_t>(extent));
    }
    check(!shape.empty(), kReadError, "{} has a dataset without extents (a list or a matrix is expected)", path);
    return shape;
  }

  Hdf5Type type(hid_t dataset, const std::string& name) const {
    const hdf5::Handle stored(hdf5::checked(H5Dget_type(dataset), kReadError, "read", path), H5Tclose);
    for (const Hdf5Type type : kHdf5Types)
      if (H5Tequal(stored, hdf5::native_type(type)) > 0) return type;
    fail(kReadError, "{}: dataset {} has a type that is not read (u8, u16, i32, i64 and f32 are) convert it", path, name);
  }
};

Hdf5Reader::Hdf5Reader(const std::string& path) {
  check(path_kind(path) == PathKind::kFile, kReadError, "{} does not exist (an HDF5 file is read) check the path", path);
  const hdf5::Turn turn;
  const hdf5::Handle access = hdf5::access_properties();
  hdf5::Handle file(hdf5::checked(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), kReadError, "read", path), H5Fclose);
  state_ = std::make_unique<State>(State{path, std::move(file)});
}

Hdf5Reader::Hdf5Reader(Hdf5Reader&&) noexcept = default;
Hdf5Reader::~Hdf5Reader() {
  if (state_ == nullptr) return;
  const hdf5::Turn turn;
  state_.reset();
}

bool Hdf5Reader::has(const std::string& name) const {
  const hdf5::Turn turn;
  // H5Lexists answers for the last component only; each folder before it must exist too.
  for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
    const htri_t there = H5Lexists(state_->file, name.substr(0, end).c_str(), H5P_DEFAULT);
    if (hdf5::checked(there, kReadError, "read", state_->path) == 0) return false;
    if (end == std::string::npos) return true;
  }
}

Hdf5Type Hdf5Reader::type(const std::string& name) const {
  const hdf5::Turn turn;
  return state_->type(state_->open(name), name);
}

Shape Hdf5Reader::shape(const std::string& name) const {
  const hdf5::Turn turn;
  return state_->shape(state_->open(name));
}

std::size_t Hdf5Reader::checked_count(const std::string& name) const {
  const hdf5::Turn turn;
  const hdf5::Handle dataset = state_->open(name);
  const auto count = static_cast<std::uint64_t>(element_count(state_->shape(dataset)));
  const std::uint64_t stored = H5Dget_storage_size(dataset);
  if (stored == 0 && H5Eget_num(H5E_DEFAULT) > 0) hdf5::checked(-1, kReadError, "read", state_->path);
  check(count / kMaxRatio <= stored && (count == 0 || stored > 0), kReadError,
        "{}: dataset {} states {} values but has {} bytes (it is damaged)", state_->path, name, count, stored);
  return static_cast<std::size_t>(count);
}

void Hdf5Reader::read_bytes(const std::string& name, Hdf5Type type, std::int64_t row_begin, std::span<std::byte> out) const {
  const hdf5::Turn turn;
  const std::string& path = state_->path;
  const hdf5::Handle dataset = state_->open(name);
  check(state_->type(dataset, name) == type, kReadError,
        "{}: dataset {} has another type than expected (it is of another program or version)", path, name);
  const Shape shape = state_->shape(dataset);
  if (out.empty()) return;
  const std::int64_t row_bytes = hdf5::row_elements(shape) * static_cast<std::int64_t>(hdf5::bytes_of(type));
  const auto bytes = static_cast<std::int64_t>(out.size());
  const std::int64_t rows = row_bytes == 0 ? 0 : bytes / row_bytes;
  expect(rows * row_bytes == bytes && row_begin >= 0 && rows <= shape[0] && row_begin <= shape[0] - rows,
         "{} bytes are no rows from {} on of dataset {}", bytes, row_begin, name);
  Shape part = shape;
  part[0] = rows;
  const hdf5::Handle memory = hdf5::make_space(part, path);
  const hdf5::Handle space = hdf5::make_space(shape, path);
  hdf5::select_rows(space, shape, row_begin, rows, path);
  hdf5::checked(H5Dread(dataset, hdf5::native_type(type), memory, space, H5P_DEFAULT, out.data()), kReadError, "read", path);
}

bool Hdf5Reader::has_attribute(const std::string& name) const {
  const hdf5::Turn turn;
  return hdf5::checked(H5Aexists(state_->file, name.c_str()), kReadError, "read", state_->path) > 0;
}

std::string Hdf5Reader::attribute(const std::string& name) const {
  const hdf5::Turn turn;
  const std::string& path = state_->path;
  const hid_t opened = H5Aopen(state_->file, name.c_str(), H5P_DEFAULT);
  const hdf5::Handle attribute(hdf5::checked(opened, kReadError, fmt::format("find the attribute {} in", name).c_str(), path),
                               H5Aclose);
  const hdf5::Handle type(hdf5::checked(H5Aget_type(attribute), kReadError, "read", path), H5Tclose);
  const hdf5::Handle space(hdf5::checked(H5Aget_space(attribute), kReadError, "read", path), H5Sclose);
  const bool is_text =
      H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && H5Sget_simple_extent_npoints(space) == 1;
  check(is_text, kReadError, "{}: attribute {} is not a text of fixed length (it is of another program)", path, name);
  std::string text(H5Tget_size(type), '\0');
  hdf5::checked(H5Aread(attribute, type, text.data()), kReadError, "read", path);
  text.resize(std::min(text.size(), text.find('\0')));
  return text;
}

}  // namespace mpiquant
