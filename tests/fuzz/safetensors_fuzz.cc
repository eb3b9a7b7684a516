// A safetensors file.
#include <cstdlib>

#include "io/safetensors.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) {
  const File file = File::open_read(fuzz_file("model.safetensors", data));
  const SafetensorsHeader header = parse_safetensors_header(file);
  std::int64_t end = -1;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.bytes < 0 || entry.offset < 8 || (end >= 0 && entry.offset != end)) std::abort();
    end = entry.offset + entry.bytes;
    if (end > file.size()) std::abort();
  }
}
