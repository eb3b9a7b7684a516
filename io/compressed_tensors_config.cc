#include "io/compressed_tensors_config.h"

#include <algorithm>

#include "io/linear_patterns.h"

namespace mpiquant {
namespace {

constexpr const char* kFormat = "pack-quantized";
constexpr const char* kVersion = "0.20.0";  // the release of compressed-tensors that describes this configuration

struct Group {
  CodecSpec codec;
  std::vector<std::string> targets;
};

// One group takes every Linear that is not ignored; several groups name their linears.
std::vector<Group> groups_of(const OutputSpec& output, const ModelSpec& model) {
  std::vector<Group> groups;
  for (const LinearPattern& pattern : linear_patterns(output, model)) {
    if (!pattern.codec) continue;
    auto found = std::ranges::find(groups, *pattern.codec, &Group::codec);
    if (found == groups.end()) found = groups.insert(groups.end(), {*pattern.codec, {}});
    found->targets.push_back("re:^" + pattern.regex + "$");
  }
  if (groups.size() == 1) groups.front().targets = {"Linear"};
  return groups;
}

Json weights_of(const CodecSpec& codec, const RunFacts& facts) {
  const bool channel = codec.group_size < 0;
  Json weights;
  weights["num_bits"] = codec.bits;
  weights["type"] = "int";
  weights["symmetric"] = codec.symmetric;
  weights["strategy"] = channel ? "channel" : "group";
  weights["group_size"] = channel ? Json() : Json(codec.group_size);
  weights["block_structure"] = nullptr;
  weights["dynamic"] = false;
  weights["actorder"] = facts.method == "gptq" && facts.act_order == "static" ? Json("static") : Json();
  weights["observer"] = codec.mse ? "mse" : "minmax";
  weights["observer_kwargs"] = Json::object();
  return weights;
}

Json ignored(const OutputSpec& output, const ModelSpec& model) {
  Json ignore = Json::array();
  for (const LinearPattern& pattern : linear_patterns(output, model))
    if (!pattern.codec) {
      for (const std::string& module : pattern.modules) ignore.push_back(module);
    }
  if (!is_quantized(output, model.head.module)) ignore.push_back(model.head.module);
  return ignore;
}

}  // namespace

Json compressed_tensors_config(const OutputSpec& output, const RunFacts& facts) {
  const ModelSpec& model = *facts.model;
  Json config;
  config["config_groups"] = Json::object();
  for (const Group& group : groups_of(output, model)) {
    Json& entry = config["config_groups"]["group_" + std::to_string(config["config_groups"].size())];
    entry["targets"] = group.targets;
    entry["weights"] = weights_of(group.codec, facts);
    entry["input_activations"] = nullptr;
    entry["output_activations"] = nullptr;
    entry["format"] = kFormat;
  }
  config["format"] = kFormat;
  config["global_compression_ratio"] = nullptr;
  config["ignore"] = ignored(output, model);
  config["kv_cache_scheme"] = nullptr;
  config["quant_method"] = "compressed-tensors";
  config["quantization_status"] = "compressed";
  config["sparsity_config"] = Json::object();
  config["transform_config"] = Json::object();
  config["version"] = kVersion;
  return config;
}

bool is_asymmetric(const OutputSpec& output) {
  return std::ranges::any_of(output.linears, [](const LinearChoice& c) { return !c.codec.symmetric; });
}

bool is_mixed(const OutputSpec& output) {
  return std::ranges::any_of(output.linears, [&](const LinearChoice& c) { return c.codec != output.linears.front().codec; });
}

std::vector<std::string> compressed_tensors_notes(const OutputSpec& output, const ModelSpec& model) {
  std::vector<std::string> notes;
  const bool asymmetric = is_asymmetric(output), mixed = is_mixed(output);
  if (asymmetric && mixed)
    notes.emplace_back(
        "Transformers 5.23 cannot load it: asymmetric weights need dequantize=True, which takes all linears for one kind");
  else if (asymmetric)
    notes.emplace_back("Transformers 5.23 loads asymmetric weights only with CompressedTensorsConfig(dequantize=True)");
  else if (mixed)
    notes.emplace_back(
        "with dequantize=True Transformers 5.23 takes all linears for one kind and decodes the others wrongly; load it without");
  const auto codec_of = [&](const LinearSpec& linear) {
    const auto found = std::ranges::find(output.linears, linear.module, [](const auto& c) { return c.linear.module; });
    return found == output.linears.end() ? std::nullopt : std::optional(found->codec);
  };
  for (const LayerSpec& layer : model.layers)
    for (const BlockSpec& block : layer.blocks)
      if (std::ranges::any_of(block.linears,
                              [&](const LinearSpec& l) { return codec_of(l) != codec_of(block.linears.front()); })) {
        notes.emplace_back("linears that share an input differ; vLLM, which fuses them, cannot load that");
        return notes;
      }
  return notes;
}

}  // namespace mpiquant
