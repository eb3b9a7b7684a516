#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

#include "io/file.h"
#include "io/hdf5_handle.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kChunkBytes = std::int64_t{512}
                                     << 10;         // half of HDF5's cache of a dataset, so that rows can be written singly
constexpr std::size_t kMaxAttributeBytes = 60'000;  // HDF5 keeps attributes in object headers of 64 KiB
constexpr ExitCode kWriteError = ExitCode::kEnvironment;

// Extents of a chunk: the last ones whole, as many of the first as fit.
std::vector<hsize_t> chunk_extents(const Shape& shape, std::size_t element_bytes) {
  std::vector<hsize_t> chunk(shape.size());
  std::int64_t room = kChunkBytes / static_cast<std::int64_t>(element_bytes);
  for (std::size_t i = shape.size(); i-- > 0;) {
    const std::int64_t pieces = (shape[i] + room - 1) / room;  // of about the same size, since the last is stored whole
    const std::int64_t extent = (shape[i] + pieces - 1) / pieces;
    chunk[i] = static_cast<hsize_t>(extent);
    room = std::max<std::int64_t>(1, room / extent);
  }
  return chunk;
}

}  // namespace

struct Hdf5Writer::State {
  struct Dataset {
    hdf5::Handle handle;
    Hdf5Type type;
    Shape shape;
  };

  std::string path;
  std::string partial;
  std::optional<hdf5::Handle> file;
  std::map<std::string, Dataset> datasets;
  bool committed = false;
};

Hdf5Writer::Hdf5Writer(const std::string& path) : state_(std::make_unique<State>()) {
  const hdf5::Turn turn;
  state_->path = path;
  state_->partial = path + ".partial";
  const hdf5::Handle access = hdf5::access_properties();
  const hid_t file = H5Fcreate(state_->partial.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  state_->file.emplace(hdf5::checked(file, kWriteError, "create", state_->partial), H5Fclose);
}

Hdf5Writer::Hdf5Writer(Hdf5Writer&&) noexcept = default;

Hdf5Writer::~Hdf5Writer() {
  if (state_ == nullptr || state_->committed) return;
  const hdf5::Turn turn;
  state_->datasets.clear();
  state_->file.reset();
  std::error_code ignored;  // the next writer of this path empties what stays
  std::filesystem::remove(state_->partial, ignored);
}

void Hdf5Writer::create(const std::string& name, Hdf5Type type, const Shape& shape) {
  const hdf5::Turn turn;
  const std::string& path = state_->partial;
  expect(state_->file.has_value() && !state_->datasets.contains(name) && !shape.empty(), "dataset {} of {} cannot be made", name,
         path);
  const std::int64_t count = element_count(shape);
  const hdf5::Handle space = hdf5::make_space(shape, path);
  const hdf5::Handle links(hdf5::checked(H5Pcreate(H5P_LINK_CREATE), kWriteError, "set up", path), H5Pclose);
  hdf5::checked(H5Pset_create_intermediate_group(links, 1), kWriteError, "set up", path);
  const hdf5::Handle properties(hdf5::checked(H5Pcreate(H5P_DATASET_CREATE), kWriteError, "set up", path), H5Pclose);
  hdf5::checked(H5Pset_obj_track_times(properties, false), kWriteError, "set up", path);
  hdf5::checked(H5Pset_fill_time(properties, H5D_FILL_TIME_ALLOC), kWriteError, "set up", path);
  if (count > 0) {  // chunks cannot be empty
    const std::vector<hsize_t> chunk = chunk_extents(shape, hdf5::bytes_of(type));
    hdf5::checked(H5Pset_chunk(properties, static_cast<int>(chunk.size()), chunk.data()), kWriteError, "set up", path);
    hdf5::checked(H5Pset_fletcher32(properties), kWriteError, "set up", path);
  }
  const hid_t dataset = H5Dcreate2(*state_->file, name.c_str(), hdf5::native_type(type), space, links, properties, H5P_DEFAULT);
  state_->datasets.emplace(
      name, State::Dataset{{hdf5::checked(dataset, kWriteError, "make a dataset in", path), H5Dclose}, type, shape});
}

void Hdf5Writer::write_bytes(const std::string& name, Hdf5Type type, std::int64_t row_begin, std::span<const std::byte> values) {
  const hdf5::Turn turn;
  const std::string& path = state_->partial;
  const auto found = state_->datasets.find(name);
  expect(found != state_->datasets.end() && found->second.type == type, "dataset {} of {} was not made with this type", name,
         path);
  const Shape& shape = found->second.shape;
  const std::int64_t row_bytes = hdf5::row_elements(shape) * static_cast<std::int64_t>(hdf5::bytes_of(type));
  const auto bytes = static_cast<std::int64_t>(values.size());
  if (element_count(shape) == 0 && bytes == 0) return;
  const std::int64_t rows = row_bytes == 0 ? 0 : bytes / row_bytes;
  expect(rows * row_bytes == bytes && row_begin >= 0 && rows <= shape[0] && row_begin <= shape[0] - rows,
         "{} bytes are no rows from {} on of dataset {}", bytes, row_begin, name);
  if (rows == 0) return;
  Shape part = shape;
  part[0] = rows;
  const hdf5::Handle memory = hdf5::make_space(part, path);
  const hdf5::Handle space = hdf5::make_space(shape, path);
  hdf5::select_rows(space, shape, row_begin, rows, path);
  const herr_t status = H5Dwrite(found->second.handle, hdf5::native_type(type), memory, space, H5P_DEFAULT, values.data());
  hdf5::checked(status, kWriteError, "write", path);
}

void Hdf5Writer::attribute(const std::string& name, const std::string& text) {
  const hdf5::Turn turn;
  const std::string& path = state_->partial;
  expect(state_->file.has_value() && text.size() <= kMaxAttributeBytes, "attribute {} of {} with {} bytes cannot be written",
         name, path, text.size());
  const hdf5::Handle type(hdf5::checked(H5Tcopy(H5T_C_S1), kWriteError, "set up", path), H5Tclose);
  hdf5::checked(H5Tset_size(type, text.size() + 1), kWriteError, "set up", path);  // with the terminator
  hdf5::checked(H5Tset_cset(type, H5T_CSET_UTF8), kWriteError, "set up", path);
  const hdf5::Handle space(hdf5::checked(H5Screate(H5S_SCALAR), kWriteError, "set up", path), H5Sclose);
  const hid_t created = H5Acreate2(*state_->file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT);
  const hdf5::Handle attribute(hdf5::checked(created, kWriteError, "make an attribute in", path), H5Aclose);
  hdf5::checked(H5Awrite(attribute, type, text.c_str()), kWriteError, "write", path);
}

void Hdf5Writer::end_dataset(const std::string& name) {
  const hdf5::Turn turn;
  const auto found = state_->datasets.find(name);
  expect(found != state_->datasets.end(), "dataset {} of {} was not made", name, state_->partial);
  hdf5::checked(found->second.handle.close(), kWriteError, "write", state_->partial);
  state_->datasets.erase(found);
}

void Hdf5Writer::close() {
  const hdf5::Turn turn;
  expect(state_->file.has_value(), "{} is closed twice", state_->path);
  for (auto& [name, dataset] : state_->datasets) hdf5::checked(dataset.handle.close(), kWriteError, "write", state_->partial);
  state_->datasets.clear();
  const herr_t status = state_->file->close();
  state_->file.reset();
  hdf5::checked(status, kWriteError, "close", state_->partial);
}

void Hdf5Writer::publish() {
  expect(!state_->file.has_value() && !state_->committed, "{} is not closed, or published twice", state_->path);
  File file = File::open_write(state_->partial);
  file.sync();
  file.close();
  rename_into_place(state_->partial, state_->path);
  state_->committed = true;
}

}  // namespace mpiquant
