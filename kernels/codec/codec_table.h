#pragma once

#include <span>
#include <string_view>

#include "kernels/codec/codec.h"

namespace mpiquant {

struct CodecInfo {
  CodecKind kind;
  std::string_view name;   // "q4_0"
  std::string_view about;  // a line for lists
};

// All codecs, one row each (codec.cc), in the order of CodecKind.
std::span<const CodecInfo> codecs();

}  // namespace mpiquant
