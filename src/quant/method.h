#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "kernels/backend.h"

namespace mpiquant {

// How codes are chosen. A method is one file in this folder and a row of the table in method.cc.
struct Method {
  std::string_view name;
  bool needs_hessian;
  // Codes of a part [rows, cols], which begins at row row_begin of its linear; the part lies in the backend's memory space.
  // factor is null for methods without Hessian. The loss is that of the method: see rtn.cc and gptq.cc.
  EncodedRows (*convert)(Backend& backend, Stream& stream, ConstMatrix part, const Factor* factor, const CodecSpec& codec,
                         std::int64_t row_begin);
};

std::span<const Method> methods();

// Throws (usage error) with the known names.
const Method& find_method(std::string_view name);

// Group of each original column. factor: of the method's Hessian, null if it has none; only a dynamic order makes a difference.
std::vector<std::int32_t> group_index(const CodecSpec& codec, const Factor* factor, std::int64_t cols);

}  // namespace mpiquant
