#include "src/text/text_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "src/base/error.h"

namespace mpiquant {

std::string read_text_file(const std::filesystem::path& path) {
  std::error_code ignored;
  check(!std::filesystem::is_directory(path, ignored), ExitCode::kInput, "{} is a directory (a file is needed)", path.string());
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  const int reason = errno;
  check(file.is_open(), ExitCode::kInput, "{} cannot be opened: {}", path.string(), std::strerror(reason));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  check(!file.bad(), ExitCode::kEnvironment, "{} could not be read to its end", path.string());
  return text;
}

}  // namespace mpiquant
