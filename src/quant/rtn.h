#pragma once

#include "kernels/backend.h"

namespace mpiquant {

// Round to nearest; the loss of a row is its squared error.
EncodedRows convert_rtn(Backend& backend, Stream& stream, ConstMatrix part, const Factor* factor, const CodecSpec& codec,
                        std::int64_t row_begin);

}  // namespace mpiquant
