#include "io/shared_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/process_id.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

// A synced file with this content under a name that no other process uses.
std::string write_beside(const std::string& path, std::string_view text) {
  fs::create_directories(fs::path(path).parent_path());
  std::string temporary = fmt::format("{}.partial-{}-{}", path, host_name(), ::getpid());
  try {
    File file = File::create(temporary, 0);
    file.write_at(0, std::as_bytes(std::span(text)));
    file.sync();
    file.close();
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
  return temporary;
}

}  // namespace

void replace_shared_file(const std::string& path, std::string_view text) {
  const std::string temporary = write_beside(path, text);
  try {
    rename_into_place(temporary, path);
  } catch (const Error&) {
    ::unlink(temporary.c_str());
    throw;
  }
}

bool create_shared_file(const std::string& path, std::string_view text) {
  const std::string temporary = write_beside(path, text);
  // A hard link appears with its content and fails if the name is taken, on network file systems too.
  const int error = ::link(temporary.c_str(), path.c_str()) == 0 ? 0 : errno;
  ::unlink(temporary.c_str());
  check(error == 0 || error == EEXIST, ExitCode::kEnvironment, "cannot create {} ({}) check the file system", path,
        std::strerror(error));
  return error == 0;
}

std::optional<Json> read_state(const std::string& path) {
  if (path_kind(path) != PathKind::kFile) return std::nullopt;
  try {
    return parse_json(read_text_file(path), path);
  } catch (const Error&) {
    if (path_kind(path) == PathKind::kNothing) return std::nullopt;  // removed since
    throw;
  }
}

double now_seconds() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string time_text(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&whole, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &parts);
  return text.data();
}

}  // namespace mpiquant
