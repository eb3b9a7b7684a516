#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"

namespace mpiquant::cpu {

// Round to nearest of weight [rows, cols], any number of rows. ggml codecs give the codes and parameters that ggml's quantizer
// stores. loss is the squared error of each row.
EncodedRows encode(ConstMatrix weight, const CodecSpec& codec);

// out [rows, cols] = the values of the codes; g_idx [cols] is the group of each column.
void decode(const EncodedRows& rows, const CodecSpec& codec, std::span<const std::int32_t> g_idx, Matrix out);

}  // namespace mpiquant::cpu
