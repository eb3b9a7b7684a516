#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/safetensors.h"
#include "tests/io/fixtures.h"

namespace mpiquant {

// Element i of a tensor has the value i + 1.
inline void write_model(const std::string& path, const std::vector<SafetensorsTensor>& tensors) {
  const SafetensorsLayout layout = build_safetensors_header(tensors);
  File file = File::create(path, layout.file_bytes);
  file.write_at(0, layout.header);
  for (const SafetensorsEntry& entry : layout.entries) {
    const std::optional<DType> dtype = dtype_from_safetensors(entry.dtype);
    std::vector<float> values(static_cast<std::size_t>(element_count(entry.shape)));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
    std::vector<std::byte> bytes(static_cast<std::size_t>(entry.bytes));
    if (dtype && is_float(*dtype)) from_f32(*dtype, values, bytes);
    file.write_at(entry.offset, bytes);
  }
  file.close();
}

}  // namespace mpiquant
