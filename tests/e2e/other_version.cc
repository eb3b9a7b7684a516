// Takes the place of the library's version, for a rank with another program.
#include "src/base/version.h"

namespace mpiquant {

std::string_view version() { return "0.0.0-other"; }

}  // namespace mpiquant
