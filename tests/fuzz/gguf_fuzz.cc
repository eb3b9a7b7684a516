// A GGUF file: header, model configuration, and decoded tensors.
#include <cstdlib>
#include <vector>

#include "io/gguf_source.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) {
  const std::string path = fuzz_file("model.gguf", data);
  const File file = File::open_read(path);
  const GgufHeader header = parse_gguf(file);
  for (const GgufTensor& tensor : header.tensors)
    if (tensor.bytes < 0 || tensor.offset < header.data_offset || tensor.offset + tensor.bytes > file.size()) std::abort();
  refusable([&] { config_from_gguf(header); });
  const GgufSource source(path);
  for (const TensorEntry& entry : source.entries()) {
    std::vector<float> values(static_cast<std::size_t>(element_count(entry.shape)));
    source.read_rows(entry.name, 0, entry.rows(), values);
  }
}
