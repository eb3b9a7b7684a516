#pragma once

#include <span>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {

// Round to nearest; the loss of a row is its squared error.
std::vector<EncodedRows> convert_rtn(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor* factor,
                                     const CodecSpec& codec);

}  // namespace mpiquant
