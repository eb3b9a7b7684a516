#pragma once

#include "io/container.h"

namespace mpiquant {

// One GGUF file, MODEL-TYPE.gguf, of architecture "llama": F32, F16, BF16, Q8_0, Q4_0, Q4_1 linears; embeddings and output keep
// their float type unless OutputSpec says another; vectors are F32; rows of q and k are in llama.cpp's order.
const Container& gguf_container();

}  // namespace mpiquant
