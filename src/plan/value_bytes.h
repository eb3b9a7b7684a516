#pragma once

#include <cstdint>

namespace mpiquant {

// Bytes of a value where the forecasts count them: weights, hidden states and packed triangles are floats, a GPU's weights and
// what goes to its products are halves, the integer sums of Hessians and the factor while it is made have eight bytes.
inline constexpr std::int64_t kFloat = 4, kHalf = 2, kDouble = 8, kSum = 8;

}  // namespace mpiquant
