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

// The hidden states of one unit, with the index that names them among those of all replicas.
struct HiddenState {
  std::int64_t index;
  UnitState* unit;
};

// The same on the host.
struct HiddenRows {
  std::int64_t index = 0;
  std::int64_t tokens = 0;
  std::vector<float> values;  // [tokens, hidden]
};
std::vector<HiddenRows> copy_hidden(Backend& backend, std::span<const HiddenState> states, std::int64_t hidden);

// Writes "unit-17" f32 [tokens, hidden] for each unit of one rank, and frees it. Any thread.
void write_hidden(Hdf5Writer& file, std::vector<HiddenRows> units, std::int64_t hidden);

// Uploads hidden states from the files that hold them. folder: where the files are; files: index → file. Input error when a file
// does not fit a unit.
void read_hidden(const std::string& folder, const std::map<std::int64_t, std::string>& files, Backend& backend,
                 std::span<const HiddenState> states, std::int64_t hidden);

}  // namespace mpiquant
