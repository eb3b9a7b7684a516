#include "kernels/backend.h"
#include "src/base/error.h"

namespace mpiquant {

Matrix BackendBuffer::matrix(std::int64_t rows, std::int64_t cols) const {
  expect(rows >= 0 && cols >= 0 && static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) <= bytes_ / sizeof(float),
         "a matrix [{},{}] in a buffer of {} bytes", rows, cols, bytes_);
  return {reinterpret_cast<float*>(data()), rows, cols, cols, space_};
}

}  // namespace mpiquant
