#pragma once

#include <hdf5.h>

#include <array>
#include <cstddef>
#include <mutex>
#include <string>
#include <utility>

#include "io/hdf5.h"
#include "src/base/error.h"

namespace mpiquant::hdf5 {

// HDF5 without thread safety, which is how most machines have it: held for the time of every call into the library.
class Turn {
 public:
  Turn();

 private:
  std::lock_guard<std::mutex> lock_;
};

// An HDF5 object with its one owner.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Handle(hid_t id, Close closer) : id_(id), close_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  // Closes now and returns HDF5's status.
  herr_t close() { return close_(std::exchange(id_, -1)); }

 private:
  hid_t id_;
  Close close_;
};

// Why the last call failed: the system's reason where there is one, else HDF5's innermost words. Empties its stack.
struct Reason {
  std::string text;
  bool of_system = false;  // a read or write failed
};
Reason last_reason();

// The one check of every HDF5 call: throws with the action, the file and the reason when the status is negative. An error of the
// system is one of the environment, whatever the code.
template <typename Status>
Status checked(Status status, ExitCode code, const char* action, const std::string& path) {
  if (status >= 0) return status;
  const Reason reason = last_reason();
  const bool damaged = code == ExitCode::kInput && !reason.of_system;
  fail(damaged ? code : ExitCode::kEnvironment, "cannot {} {} ({}) {}", action, path, reason.text,
       damaged ? "remove it, so that it is made again" : "look at the file system (space, quota, health) and start again");
}

// Properties of every file access: no locking; closing a file closes all that is open in it. Also stops HDF5's own printing.
Handle access_properties();

hid_t native_type(Hdf5Type type);
std::size_t bytes_of(Hdf5Type type);

// Selection of `rows` whole rows from `row_begin` on of a dataspace with these extents.
void select_rows(hid_t space, const Shape& shape, std::int64_t row_begin, std::int64_t rows, const std::string& path);
// A dataspace with these extents.
Handle make_space(const Shape& shape, const std::string& path);
// Elements of a row: the product of all extents but the first; 1 for a vector.
std::int64_t row_elements(const Shape& shape);

}  // namespace mpiquant::hdf5
