#pragma once

#include <optional>
#include <string>

#include "src/text/calibration.h"

namespace mpiquant {

// Keeps a calibration set in an HDF5 file, which appears under its name only when it is whole. Layout: "tokens" (int32, all
// samples one behind the other), "offsets" (int64, where each begins, and the end), "record" (uint8, JSON text).
void write_token_store(const std::string& path, const CalibrationSet& set);

// Reads a store. With `key` (calibration_key) the store must have been made with the same: else an input error names the field
// that differs. Damage is an input error too. Token ids are not checked against a model.
CalibrationSet load_token_store(const std::string& path, const std::optional<Json>& key = std::nullopt);

}  // namespace mpiquant
