#include "src/run/model_input.h"

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "io/hf_cache.h"
#include "io/quantized_source.h"
#include "io/safetensors_source.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/model/config.h"

namespace mpiquant {

std::map<std::string, DType> ModelInput::dtypes() const {
  std::map<std::string, DType> out;
  for (const TensorEntry& entry : source->entries())
    if (entry.dtype && is_float(*entry.dtype)) out[entry.name] = *entry.dtype;
  return out;
}

ModelInput open_model(const std::string& argument) {
  const ModelLocation location = resolve_model(argument);
  ModelInput input;
  input.directory = location.directory;
  input.name = location.name;
  input.source = std::make_unique<SafetensorsSource>(location.directory);
  input.spec = read_model(location.directory, *input.source);
  return input;
}

ModelInput open_readable_model(const std::string& argument) {
  namespace fs = std::filesystem;
  const bool is_file = fs::is_regular_file(argument);
  const ModelLocation location = resolve_model(is_file ? fs::absolute(argument).parent_path().string() : argument);
  PlainModel plain = open_plain_model(is_file ? argument : location.directory);
  ModelInput input;
  input.directory = location.directory;
  input.name = location.name;
  input.source = std::move(plain.source);
  input.in_blocks = std::move(plain.in_blocks);
  input.spec = parse_config(plain.config, DType::kF32);
  for (const std::string& unused : check_tensors(input.spec, *input.source))
    warn_line("{}: {} is not used", location.name, unused);
  return input;
}

void round_activations_of_blocks(ModelInput& model) {
  check(!model.in_blocks.empty(), ExitCode::kUsage,
        "--activations q8_0: {} is no GGUF file with tensors in blocks (llama.cpp rounds what it multiplies with those alone) "
        "leave "
        "the option away",
        model.name);
  const auto in_blocks = [&](const std::string& tensor) { return std::ranges::count(model.in_blocks, tensor) != 0; };
  for (LayerSpec& layer : model.spec.layers)
    for (BlockSpec& block : layer.blocks)
      for (LinearSpec& linear : block.linears) linear.rounded_input = in_blocks(linear.weight());
  model.spec.head.rounded_input = in_blocks(model.spec.head_weight());
}

}  // namespace mpiquant
