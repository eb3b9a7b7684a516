#pragma once

#include "launch/arguments.h"
#include "src/comm/communicator.h"
#include "src/run/model_input.h"
#include "src/run/quantize.h"

namespace mpiquant {

// Whether a token store that is not there yet is made.
enum class StoreUse : std::uint8_t { kReadOrWrite, kReadOnly };
// The calibration on every rank, as read_choices(values) has it; rank 0 reads and tokenizes. Collective.
Calibration read_calibration(const options::variables_map& values, const ModelInput& model, Communicator& world,
                             StoreUse use = StoreUse::kReadOrWrite);

// The text of an evaluation and its windows.
options::options_description window_options();
Samples read_windows(const options::variables_map& values, const ModelInput& model, Communicator& world);

}  // namespace mpiquant
