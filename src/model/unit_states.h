#pragma once

#include <functional>
#include <span>

#include "src/model/decoder.h"

namespace mpiquant {

// Units keep their states where the backend computes or, when it has no room for all of them, on the host; from there a unit is
// brought to the backend for as long as something works on it.

// Moves the hidden states of a unit to the host, before they have values.
void keep_on_host(Backend& backend, UnitState& unit);

// Hidden states [T, hidden] of a unit, wherever it keeps them.
void set_hidden(Backend& backend, Stream& stream, std::span<const float> values, UnitState& unit);
void get_hidden(Backend& backend, Stream& stream, const UnitState& unit, std::span<float> values);

// body works on the unit's states where the backend computes; what it leaves there goes back to where the unit keeps them.
void visit(Backend& backend, Stream& stream, UnitState& unit, const std::function<void(UnitState&)>& body);

// Hands the inputs of all units to body where the backend computes: at once, or one unit after the other when they are kept on
// the host. The backend's streams must be idle.
void visit_inputs(Backend& backend, std::span<const UnitState> units,
                  const std::function<void(std::span<const ConstMatrix>)>& body);

}  // namespace mpiquant
