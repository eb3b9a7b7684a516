#include "tests/fuzz/fuzz_support.h"

#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include "io/file.h"

namespace mpiquant {
namespace {

struct Folder {
  Folder() {
    const std::filesystem::path memory = "/dev/shm";
    const std::filesystem::path root = std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
    path = root / ("mpiquant-fuzz-" + std::to_string(getpid()));
    std::filesystem::create_directories(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path path;
};

}  // namespace

const std::filesystem::path& fuzz_folder() {
  static const Folder folder;
  return folder.path;
}

std::string fuzz_file(const std::string& name, std::string_view content) {
  const std::string path = (fuzz_folder() / name).string();
  write_text_file(path, content);
  return path;
}

}  // namespace mpiquant

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mpiquant::refusable([&] { mpiquant::fuzz_target({reinterpret_cast<const char*>(data), size}); });
  return 0;
}
