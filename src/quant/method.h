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
  // Codes of parts [rows, cols] of linears that share an input, each from its first row on; they lie in the backend's memory
  // space. factor is null for methods without Hessian. The loss is that of the method: see rtn.cc and gptq.cc.
  std::vector<EncodedRows> (*convert)(Backend& backend, Stream& stream, std::span<const ConstMatrix> parts, const Factor* factor,
                                      const CodecSpec& codec);
};

std::span<const Method> methods();

// Throws (usage error) with the known names.
const Method& find_method(std::string_view name);

// Group of each original column. factor: of the method's Hessian, null if it has none; only a dynamic order makes a difference.
std::vector<std::int32_t> group_index(const CodecSpec& codec, const Factor* factor, std::int64_t cols);

}  // namespace mpiquant
