#pragma once

#include "io/container.h"

namespace mpiquant {

// compressed-tensors, format pack-quantized (FORMATS: compressed-tensors): X.weight_packed, X.weight_scale, X.weight_shape and,
// if asymmetric, X.weight_zero_point. 2, 4 and 8 bits, groups or whole rows; no groups in activation order.
const Container& compressed_tensors_container();

}  // namespace mpiquant
