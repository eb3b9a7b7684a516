#include "io/linear_patterns.h"

#include <algorithm>
#include <map>

#include "src/base/error.h"

namespace mpiquant {
namespace {

using MaybeCodec = std::optional<CodecSpec>;

MaybeCodec codec_of(const OutputSpec& output, const std::string& module) {
  for (const LinearChoice& choice : output.linears)
    if (choice.linear.module == module) return choice.codec;
  return std::nullopt;
}

std::string escape(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    if (c == '.') pattern += '\\';
    pattern += c;
  }
  return pattern;
}

// "model.layers.0.input_layernorm.weight" → "model.layers.0."
std::string prefix_of(const LayerSpec& layer) {
  const std::string& norm = layer.input_norm;
  return norm.substr(0, norm.rfind('.', norm.rfind('.') - 1) + 1);
}

// "model.layers.0." → "model\.layers\.\d+\."
std::string any_layer(const LayerSpec& layer) {
  std::string pattern = escape(prefix_of(layer));
  const std::string index = std::to_string(layer.index);
  const std::size_t at = pattern.rfind(index);
  expect(at != std::string::npos, "no layer number in {}", pattern);
  return pattern.replace(at, index.size(), "\\d+");
}

}  // namespace

std::vector<LinearPattern> linear_patterns(const OutputSpec& output, const ModelSpec& model) {
  std::vector<std::string> suffixes;  // in the order of the model
  std::map<std::string, std::vector<std::string>> modules;
  for (const LayerSpec& layer : model.layers)
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) {
        const std::string suffix = suffix_of(layer, linear.module);
        if (!modules.contains(suffix)) suffixes.push_back(suffix);
        modules[suffix].push_back(linear.module);
      }
  std::vector<LinearPattern> patterns;
  for (const std::string& suffix : suffixes) {
    const std::vector<std::string>& members = modules[suffix];
    const MaybeCodec first = codec_of(output, members.front());
    if (std::ranges::all_of(members, [&](const std::string& module) { return codec_of(output, module) == first; })) {
      patterns.push_back({any_layer(model.layers.front()) + escape(suffix), first, members});
      continue;
    }
    for (const std::string& module : members) patterns.push_back({escape(module), codec_of(output, module), {module}});
  }
  const MaybeCodec head = codec_of(output, model.head.module);
  if (head) patterns.push_back({escape(model.head.module), head, {model.head.module}});
  return patterns;
}

CodecSpec common_codec(const OutputSpec& output) {
  expect(!output.linears.empty(), "{} has no quantized linear", output.label);
  std::vector<std::pair<CodecSpec, int>> counts;
  for (const LinearChoice& choice : output.linears) {
    const auto found = std::ranges::find(counts, choice.codec, [](const auto& entry) { return entry.first; });
    if (found == counts.end())
      counts.emplace_back(choice.codec, 1);
    else
      ++found->second;
  }
  return std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
}

std::string suffix_of(const LayerSpec& layer, const std::string& module) {
  const std::string prefix = prefix_of(layer);
  expect(module.starts_with(prefix), "{} is not in layer {}", module, prefix);
  return module.substr(prefix.size());
}

bool is_quantized(const OutputSpec& output, const std::string& module) { return codec_of(output, module).has_value(); }

}  // namespace mpiquant
