// Runs a fuzz target on files and folders of files, for compilers without libFuzzer: seeds and inputs that once broke a parser.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "io/file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  std::size_t count = 0;
  for (int i = 1; i < argc; ++i)
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      const std::string content = mpiquant::read_text_file(entry.path().string());
      std::printf("%s\n", entry.path().c_str());
      std::fflush(stdout);  // the name of what breaks the target
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(content.data()), content.size());
      ++count;
    }
  std::printf("%zu inputs\n", count);
  return count == 0 ? 1 : 0;
}
