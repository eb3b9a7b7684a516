#include "src/base/tensor.h"

#include "src/base/error.h"

namespace mpiquant {

std::int64_t element_count(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) {
    check(extent >= 0, ExitCode::kInput, "a tensor extent is {} (extents cannot be negative)", extent);
    check(!__builtin_mul_overflow(count, extent, &count), ExitCode::kInput,
          "a tensor shape has more than 2^63 elements (the file is damaged or hostile)");
  }
  return count;
}

}  // namespace mpiquant
