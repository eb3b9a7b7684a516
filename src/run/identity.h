#pragma once

#include <map>
#include <optional>
#include <string>

#include "src/comm/communicator.h"

namespace mpiquant {

// What must be equal on all ranks of a job, as field → hash or value. Throws the same error on every rank, naming the first
// field that differs and the ranks. Collective.
using Identity = std::map<std::string, std::string>;
void require_same(Communicator& world, const Identity& identity);

// The first field in which two identities differ, or nothing.
std::optional<std::string> difference(const Identity& a, const Identity& b);

}  // namespace mpiquant
