#pragma once

#include "launch/arguments.h"
#include "src/comm/communicator.h"
#include "src/run/model_input.h"
#include "src/run/quantize.h"

namespace mpiquant {

// Where calibration text comes from and how it is cut into samples.
options::options_description text_options();
// The calibration on every rank; rank 0 reads and tokenizes. Collective.
Calibration read_calibration(const options::variables_map& values, const ModelInput& model, Communicator& world);

// The text of an evaluation and its windows.
options::options_description window_options();
Samples read_windows(const options::variables_map& values, const ModelInput& model, Communicator& world);

}  // namespace mpiquant
