#include "src/model/config.h"

#include <set>
#include <string_view>

#include "io/file.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/model/architecture.h"
#include "src/model/config_reader.h"

namespace mpiquant {
namespace {

std::string architecture_name(const ConfigReader& config) {
  const Json* names = config.find("architectures");
  check(names != nullptr, ExitCode::kInput, "config.json: the key 'architectures' is missing; supported architectures: {}",
        supported_architectures());
  if (!names->is_array() || names->size() != 1 || !names->front().is_string())
    config.unsupported("architectures", "a list with one of " + supported_architectures());
  return names->front().get<std::string>();
}

DType stated_dtype(const ConfigReader& config, std::optional<DType> unstated) {
  const char* key = config.has("dtype") ? "dtype" : "torch_dtype";
  const auto name = config.text(key);
  const auto dtype = name ? dtype_from_torch(*name) : unstated;
  check(dtype.has_value() || name.has_value(), ExitCode::kInput,
        "config.json: the key 'dtype' (older: 'torch_dtype') is missing");
  if (dtype != DType::kF32 && dtype != DType::kF16 && dtype != DType::kBF16)
    config.unsupported(key, "float32, float16, bfloat16");
  return *dtype;
}

void read_special_tokens(const ConfigReader& config, ModelSpec& spec) {
  // Absent keys mean 1 and 2 in both LlamaConfig and MistralConfig; null means none.
  spec.bos = config.contains("bos_token_id") ? config.integer("bos_token_id") : 1;
  const Json* eos = config.find("eos_token_id");
  if (!config.contains("eos_token_id")) {
    spec.eos_all = {2};
  } else if (eos != nullptr && eos->is_array()) {
    for (const Json& id : *eos) {
      if (!id.is_number_integer()) config.unsupported("eos_token_id", "an integer or a list of integers");
      spec.eos_all.push_back(id.get<std::int64_t>());
    }
  } else if (const auto id = config.integer("eos_token_id")) {
    spec.eos_all = {*id};
  }
  if (!spec.eos_all.empty()) spec.eos = spec.eos_all.front();
}

std::string shown(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

// Full name and shape of each tensor of the model.
std::vector<std::pair<std::string, Shape>> expected_tensors(const ModelSpec& spec) {
  std::vector<std::pair<std::string, Shape>> tensors = {{spec.embedding, {spec.vocab, spec.hidden}},
                                                        {spec.final_norm, {spec.hidden}}};
  if (!spec.tied) tensors.push_back({spec.head.weight(), {spec.head.rows, spec.head.cols}});
  for (const LayerSpec& layer : spec.layers) {
    tensors.push_back({layer.input_norm, {spec.hidden}});
    tensors.push_back({layer.post_attention_norm, {spec.hidden}});
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) {
        tensors.push_back({linear.weight(), {linear.rows, linear.cols}});
        if (linear.has_bias) tensors.push_back({linear.bias(), {linear.rows}});
      }
  }
  return tensors;
}

}  // namespace

ModelSpec parse_config(const Json& json, std::optional<DType> dtype_if_unstated) {
  const ConfigReader config(json, "config.json");
  const Architecture& architecture = find_architecture(architecture_name(config));
  if (config.text("model_type").value_or("") != architecture.model_type)
    config.unsupported("model_type", fmt::format("'{}' for {}", architecture.model_type, architecture.name));
  if (config.has("quantization_config")) config.unsupported("quantization_config", "unquantized models (F32, F16, BF16 weights)");
  ModelSpec spec;
  spec.architecture = architecture.name;
  spec.model_type = architecture.model_type;
  spec.dtype = stated_dtype(config, dtype_if_unstated);
  read_special_tokens(config, spec);
  architecture.describe(config, spec);
  return spec;
}

std::vector<std::string> tensor_problems(const ModelSpec& spec, const TensorSource& source) {
  std::vector<std::string> problems;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    const TensorEntry* tensor = source.find(name);
    if (tensor == nullptr)
      problems.push_back(fmt::format("the tensor {} is missing from the model's files (config.json calls for it)", name));
    else if (tensor->shape != shape)
      problems.push_back(
          fmt::format("the tensor {} has shape {} but config.json calls for {}", name, shown(tensor->shape), shown(shape)));
    else if (!tensor->dtype || !is_float(*tensor->dtype))
      problems.push_back(fmt::format("the tensor {} has dtype {}; supported: F32, F16, BF16, F64", name, tensor->dtype_name));
  }
  return problems;
}

std::vector<std::string> check_tensors(const ModelSpec& spec, const TensorSource& source) {
  const std::vector<std::string> problems = tensor_problems(spec, source);
  if (!problems.empty()) fail(ExitCode::kInput, "{}", problems.front());
  std::set<std::string> used;
  for (const auto& [name, shape] : expected_tensors(spec)) used.insert(name);
  std::vector<std::string> unused;
  for (const TensorEntry& tensor : source.entries())
    if (!used.contains(tensor.name) && !tensor.name.ends_with("rotary_emb.inv_freq")) unused.push_back(tensor.name);
  return unused;
}

ModelSpec read_model(const std::string& directory, const TensorSource& source) {
  const std::string path = directory + "/config.json";
  const TensorEntry* embedding = source.find("model.embed_tokens.weight");
  ModelSpec spec = parse_config(parse_json(read_text_file(path), path), embedding ? embedding->dtype : std::nullopt);
  const std::vector<std::string> unused = check_tensors(spec, source);
  if (!unused.empty())
    warn_line("{} tensors of {} are not part of the model and left out: {}", unused.size(), directory, fmt::join(unused, ", "));
  return spec;
}

}  // namespace mpiquant
