#pragma once

#include "io/container.h"

namespace mpiquant {

// Decoded weights under their original names, every float tensor in one dtype (OutputSpec::dense_dtype). Takes every codec,
// ragged last groups and groups in activation order.
const Container& dense_container();

}  // namespace mpiquant
