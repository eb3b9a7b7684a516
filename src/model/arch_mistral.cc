#include <algorithm>

#include "src/base/error.h"
#include "src/model/architecture.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kDefaultKvHeads = 8, kDefaultWindow = 4096;  // of MistralConfig, when the keys are absent

}  // namespace

// Mistral is Llama with a sliding window on every layer and no biases (Transformers: modeling_mistral.py). A window of null is
// none; layer_types, ignored by Transformers here, is taken only where it says the same.
void describe_mistral(const ConfigReader& config, ModelSpec& spec) {
  LlamaLayout layout;
  layout.default_kv_heads = config.contains("num_key_value_heads") ? 0 : kDefaultKvHeads;
  if (!config.contains("sliding_window")) {
    layout.sliding_window = kDefaultWindow;
  } else if (config.has("sliding_window")) {
    layout.sliding_window = config.size("sliding_window");
  }
  const std::string_view only = layout.sliding_window > 0 ? "sliding_attention" : "full_attention";
  if (const Json* types = config.find("layer_types")) {
    const bool same = types->is_array() && std::ranges::all_of(*types, [&](const Json& type) { return type == only; });
    if (!same) config.unsupported("layer_types", "the same for every layer, following sliding_window");
  }
  describe_llama_layout(config, layout, spec);
}

}  // namespace mpiquant
