// A repository: config.json, a zero byte, model.safetensors. What inspect and verify do with it.
#include <vector>

#include "io/quantized_source.h"
#include "src/run/inspect.h"
#include "tests/fuzz/fuzz_support.h"

void mpiquant::fuzz_target(std::string_view data) {
  const std::size_t zero = data.find('\0');
  if (zero == std::string_view::npos) return;
  fuzz_file("config.json", data.substr(0, zero));
  fuzz_file("model.safetensors", data.substr(zero + 1));
  refusable([] { to_text(inspect(fuzz_folder().string()), true); });
  const PlainModel model = open_plain_model(fuzz_folder().string());
  for (const TensorEntry& entry : model.source->entries()) {
    const std::int64_t elements = element_count(entry.shape);
    // A few stored bytes may stand for any number of columns of one group, but not here.
    constexpr std::int64_t kMostElements = std::int64_t{1} << 22;
    if (elements > kMostElements) continue;
    refusable([&] {
      std::vector<float> values(static_cast<std::size_t>(elements));
      model.source->read_rows(entry.name, 0, entry.rows(), values);
    });
  }
}
