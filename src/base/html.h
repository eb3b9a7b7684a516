#pragma once

#include <string>

namespace mpiquant {

// Text as HTML, also inside attributes.
std::string escape_html(const std::string& text);

}  // namespace mpiquant
