#include "launch/plan_model.h"

#include <algorithm>
#include <filesystem>

#include "io/file.h"
#include "io/hf_cache.h"
#include "launch/resources.h"
#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/model/architecture.h"
#include "src/model/config.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kMaxConfigBytes = 1 << 20;

bool has_weights(const fs::path& directory) {
  const std::vector<std::string> names = list_directory(directory);
  return std::ranges::any_of(names, [](const std::string& name) { return name.ends_with(".safetensors"); });
}

bool can_be_quantized(const Json& config) {
  const auto names = config.is_object() ? config.find("architectures") : config.end();
  if (names == config.end() || !names->is_array() || names->size() != 1 || !names->front().is_string()) return false;
  return std::ranges::any_of(architectures(),
                             [&](const Architecture& known) { return known.name == names->front().get<std::string>(); });
}

PlanModel from_config(const fs::path& path, std::string name) {
  PlanModel model;
  model.name = std::move(name);
  const Json config = parse_json(read_text_file(path, kMaxConfigBytes), path.string());
  if (!can_be_quantized(config)) {
    model.shape = parse_shape(config);
    return model;
  }
  model.input.emplace();
  model.input->directory = path.parent_path();
  model.input->name = model.name;
  model.input->spec = parse_config(config, DType::kBF16);
  model.shape = shape_of(model.input->spec);
  return model;
}

std::vector<std::string> names_in(const fs::path& folder, const std::string& suffix) {
  std::vector<std::string> names;
  for (const std::string& file : list_directory(folder))
    if (file.ends_with(suffix)) names.push_back(file.substr(0, file.size() - suffix.size()));
  return names;
}

}  // namespace

std::map<std::string, DType> PlanModel::dtypes() const {
  const ModelInput& stored = input->stored();
  if (stored.source != nullptr) return stored.dtypes();
  const ModelSpec& spec = stored.spec;
  std::map<std::string, DType> out = {
      {spec.embedding, spec.dtype}, {spec.final_norm, spec.dtype}, {spec.head_weight(), spec.dtype}};
  for (const LayerSpec& layer : spec.layers) {
    out[layer.input_norm] = out[layer.post_attention_norm] = spec.dtype;
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) out[linear.weight()] = out[linear.bias()] = spec.dtype;
  }
  return out;
}

PlanModel find_plan_model(const std::string& argument) {
  if (path_kind(argument) == PathKind::kFile) return from_config(argument, fs::path(argument).stem());
  if (argument.find('/') == std::string::npos && path_kind(argument) == PathKind::kNothing) {
    if (const auto file = find_resource("configs/models/" + argument + ".json")) return from_config(*file, argument);
    const auto folder = find_resource("configs/models");
    check(!folder, ExitCode::kInput,
          "there is no model \"{}\" (a directory, an id of the local cache, a config.json, or a known name); {}", argument,
          suggestion(argument, names_in(*folder, ".json")));
  }
  const ModelLocation location = resolve_model(argument);
  const fs::path config = fs::path(location.directory) / "config.json";
  if (!has_weights(location.directory)) return from_config(config, location.name);
  if (!can_be_quantized(parse_json(read_text_file(config, kMaxConfigBytes), config.string())))
    return from_config(config, location.name);
  PlanModel model;
  model.input = open_model(argument);
  model.name = model.input->name;
  model.shape = shape_of(model.input->spec);
  return model;
}

Machine find_machine(const std::string& argument) {
  if (path_kind(argument) == PathKind::kFile) return parse_machine(read_text_file(argument, kMaxConfigBytes), argument);
  if (const auto file = find_resource("configs/topologies/" + argument + ".yaml"))
    return parse_machine(read_text_file(*file, kMaxConfigBytes), argument);
  const auto folder = find_resource("configs/topologies");
  fail(ExitCode::kUsage, "--topology {} is neither a file nor a known name; {}", argument,
       suggestion(argument, folder ? names_in(*folder, ".yaml") : std::vector<std::string>{}));
}

}  // namespace mpiquant
