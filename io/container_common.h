#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "io/container.h"

namespace mpiquant {

// The float tensor of an output, by its name there. Internal error if absent.
const DenseChoice& dense_of(const OutputSpec& output, std::string_view name);

// Elements of one row of a float tensor; 1 for a vector.
std::int64_t row_elements(const DenseChoice& tensor);

// Rows [row_begin, row_end) of a float tensor as `stored` floats, read a few at a time.
void write_float_rows(DType stored, const std::string& tensor, std::int64_t elements, std::int64_t row_begin,
                      std::int64_t row_end, const RowReader& read, std::span<std::byte> out);
// Stores finite values of rows from first_row on. One that the type cannot hold is an input error that names tensor and place.
void store_rows(DType stored, const std::string& tensor, std::int64_t first_row, std::int64_t elements,
                std::span<const float> values, std::span<std::byte> out);

// Usage error unless every linear has the integer grid with whole groups, and there is one at all.
void check_int_groups(const OutputSpec& output, std::string_view container);

// Usage error if the head of a tied model has a codec and is not written as a tensor of its own (--untie).
void check_tied_head(const OutputSpec& output, const ModelSpec& model, std::string_view container);

}  // namespace mpiquant
