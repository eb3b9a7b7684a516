#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "kernels/backend.h"
#include "src/model/decoder.h"

namespace mpiquant {

// Hidden states of a calibration unit on the host.
struct HiddenRows {
  std::int64_t index = 0;  // of the unit
  std::int64_t tokens = 0;
  std::vector<float> values;  // [tokens, hidden]
};
// indices: of `units`.
std::vector<HiddenRows> copy_hidden(Backend& backend, std::span<const std::int64_t> indices, std::span<const UnitState> units,
                                    std::int64_t hidden);

// Writes "unit-17" f32 [tokens, hidden] for each unit of one rank, and frees it. Any thread.
void write_hidden(Hdf5Writer& file, std::vector<HiddenRows> units, std::int64_t hidden);

// Uploads the hidden states of units from the files that hold them. folder: where the files are; files: index of a unit → file;
// indices: of `units`. Input error when a file does not fit a unit.
void read_hidden(const std::string& folder, const std::map<std::int64_t, std::string>& files, Backend& backend,
                 std::span<const std::int64_t> indices, std::span<UnitState> units, std::int64_t hidden);

}  // namespace mpiquant
