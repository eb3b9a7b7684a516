#pragma once

#include <string_view>

namespace mpiquant {

// "0.1.0"
std::string_view version();

}  // namespace mpiquant
