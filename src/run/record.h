#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "src/base/json.h"
#include "src/comm/communicator.h"

namespace mpiquant {

// What became of one linear in one codec.
struct TensorRecord {
  std::string module;
  std::string codec;
  double error = 0;  // mean over the calibration tokens of |ΔW x|², summed over the outputs (gptq); Σ ΔW² (rtn)
  double damp_percent = 0;
  int damp_retries = 0;
  std::int64_t dead_columns = 0;
  std::int64_t scale_underflows = 0;
  std::int64_t scale_overflows = 0;
  std::vector<std::size_t> outputs;
};

Json to_json(const TensorRecord& record);
// Throws nlohmann's exception when a field is missing or of another type.
TensorRecord record_from(const Json& json);

// The records of all ranks at every rank, by module, codec and outputs. Collective.
std::vector<TensorRecord> gather_records(Communicator& comm, const std::vector<TensorRecord>& mine);

}  // namespace mpiquant
