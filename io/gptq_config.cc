#include "io/gptq_config.h"

#include <algorithm>
#include <map>
#include <optional>

#include "src/base/error.h"

namespace mpiquant {
namespace {

// What GPTQ's readers can set for a linear; nothing: dense.
struct Setting {
  int bits;
  std::int64_t group_size;
  bool symmetric;
  bool operator==(const Setting&) const = default;
};
using MaybeSetting = std::optional<Setting>;

struct Linear {
  std::string module;
  std::string layer_prefix;  // "model.layers.0."; empty for the head
  std::string suffix;        // "mlp.down_proj"
  MaybeSetting setting;
};

std::string escape(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    if (c == '.') pattern += '\\';
    pattern += c;
  }
  return pattern;
}

MaybeSetting setting_of(const OutputSpec& output, const std::string& module) {
  for (const LinearChoice& choice : output.linears)
    if (choice.linear.module == module)
      return Setting{choice.codec.bits, choice.codec.group_size, choice.codec.symmetric};
  return std::nullopt;
}

// "model.layers.0.self_attn." and "model.layers.0.mlp." share the prefix "model.layers.0.".
std::string prefix_of(const LayerSpec& layer) {
  const std::string& norm = layer.input_norm;
  const std::size_t weight = norm.rfind('.');
  return norm.substr(0, norm.rfind('.', weight - 1) + 1);
}

std::vector<Linear> layer_linears(const OutputSpec& output, const ModelSpec& model) {
  std::vector<Linear> linears;
  for (const LayerSpec& layer : model.layers) {
    const std::string prefix = prefix_of(layer);
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) {
        expect(linear.module.starts_with(prefix), "{} is not in layer {}", linear.module, prefix);
        linears.push_back({linear.module, prefix, linear.module.substr(prefix.size()), setting_of(output, linear.module)});
      }
  }
  return linears;
}

// The setting of most linears; of two equally common ones the first.
Setting base_setting(const OutputSpec& output) {
  expect(!output.linears.empty(), "{} has no quantized linear", output.label);
  std::vector<std::pair<Setting, int>> counts;
  for (const LinearChoice& choice : output.linears) {
    const Setting setting = *setting_of(output, choice.linear.module);
    const auto found = std::ranges::find(counts, setting, &std::pair<Setting, int>::first);
    if (found == counts.end())
      counts.emplace_back(setting, 1);
    else
      ++found->second;
  }
  return std::ranges::max_element(counts, {}, &std::pair<Setting, int>::second)->first;
}

// Settings of each suffix over the layers, in the order of the model.
std::vector<std::pair<std::string, std::vector<const Linear*>>> by_suffix(const std::vector<Linear>& linears) {
  std::vector<std::pair<std::string, std::vector<const Linear*>>> suffixes;
  for (const Linear& linear : linears) {
    auto found = std::ranges::find(suffixes, linear.suffix, [](const auto& entry) { return entry.first; });
    if (found == suffixes.end()) found = suffixes.insert(suffixes.end(), {linear.suffix, {}});
    found->second.push_back(&linear);
  }
  return suffixes;
}

bool uniform(const std::vector<const Linear*>& linears) {
  return std::ranges::all_of(linears, [&](const Linear* l) { return l->setting == linears.front()->setting; });
}

void add_override(Json& dynamic, const std::string& pattern, const MaybeSetting& setting, const Setting& base) {
  if (setting == base) return;
  if (!setting) {
    dynamic["-:^" + pattern + "$"] = Json::object();
    return;
  }
  Json override = Json::object();
  if (setting->bits != base.bits) override["bits"] = setting->bits;
  if (setting->group_size != base.group_size) override["group_size"] = setting->group_size;
  if (setting->symmetric != base.symmetric) override["sym"] = setting->symmetric;
  dynamic["+:^" + pattern + "$"] = std::move(override);
}

Json dynamic_of(const OutputSpec& output, const ModelSpec& model, const Setting& base) {
  Json dynamic = Json::object();
  const std::vector<Linear> linears = layer_linears(output, model);
  for (const auto& [suffix, members] : by_suffix(linears)) {
    if (uniform(members)) {  // one pattern for all layers, the layer's number left open
      std::string prefix = escape(members.front()->layer_prefix);
      const std::size_t digit = prefix.find_first_of("0123456789");
      const std::size_t end = prefix.find_first_not_of("0123456789", digit);
      if (digit != std::string::npos) prefix.replace(digit, end - digit, "\\d+");
      add_override(dynamic, prefix + escape(suffix), members.front()->setting, base);
    } else {
      for (const Linear* member : members) add_override(dynamic, escape(member->module), member->setting, base);
    }
  }
  const MaybeSetting head = setting_of(output, model.head.module);
  if (head) add_override(dynamic, escape(model.head.module), head, base);
  return dynamic;
}

// The suffixes with a codec in every layer, a list a block; nothing if that is all of them.
Json quantized_suffixes(const OutputSpec& output, const ModelSpec& model) {
  const auto quantized = [&](const std::string& suffix) {
    return std::ranges::any_of(model.layers, [&](const LayerSpec& layer) {
      return setting_of(output, prefix_of(layer) + suffix).has_value();
    });
  };
  Json lists = Json::array();
  bool all = true;
  const LayerSpec& layer = model.layers.front();
  for (const BlockSpec& block : layer.blocks) {
    Json list = Json::array();
    for (const LinearSpec& linear : block.linears) {
      const std::string suffix = linear.module.substr(prefix_of(layer).size());
      if (quantized(suffix))
        list.push_back(suffix);
      else
        all = false;
    }
    if (!list.empty()) lists.push_back(std::move(list));
  }
  return all ? Json() : lists;
}

}  // namespace

bool gptq_is_v1(const OutputSpec& output) {
  return std::ranges::all_of(output.linears, [](const LinearChoice& choice) { return choice.codec.symmetric; });
}

Json gptq_config(const OutputSpec& output, const RunFacts& facts) {
  const ModelSpec& model = *facts.model;
  const Setting base = base_setting(output);
  const char* format = gptq_is_v1(output) ? "gptq" : "gptq_v2";
  Json config;
  config["bits"] = base.bits;
  config["group_size"] = base.group_size;
  config["desc_act"] = std::ranges::any_of(output.linears, &LinearChoice::has_g_idx);
  config["sym"] = base.symmetric;
  config["lm_head"] = setting_of(output, model.head.module).has_value();
  config["quant_method"] = "gptq";
  config["method"] = "gptq";
  config["checkpoint_format"] = format;
  config["format"] = format;
  config["pack_dtype"] = "int32";
  Json dynamic = dynamic_of(output, model, base);
  if (!dynamic.empty()) config["dynamic"] = std::move(dynamic);
  Json suffixes = quantized_suffixes(output, model);
  if (!suffixes.is_null()) config["modules_in_block_to_quantize"] = std::move(suffixes);
  Json& meta = config["meta"];
  meta["quantizer"] = Json::array({"mpiquant:" + facts.program_version});
  meta["method"] = facts.method;
  if (facts.method == "gptq") {
    meta["damp_percent"] = facts.damp_percent;
    meta["act_order"] = facts.act_order;
    meta["static_groups"] = facts.act_order == "static";
    meta["true_sequential"] = facts.true_sequential;
  }
  meta["mse"] = facts.mse;
  return config;
}

std::vector<std::string> gptq_notes(const OutputSpec& output, const ModelSpec& model) {
  std::vector<std::string> notes;
  const std::vector<Linear> linears = layer_linears(output, model);
  const Setting base = base_setting(output);
  const bool mixed = std::ranges::any_of(by_suffix(linears), [&](const auto& entry) {
    const bool dense = !entry.second.front()->setting;
    return !uniform(entry.second) || (!dense && entry.second.front()->setting != base);
  });
  if (mixed)
    notes.push_back("gptq: linears differ in a way that only `dynamic` expresses; GPTQModel reads it, Transformers does not");
  if (setting_of(output, model.head.module))
    notes.push_back("gptq: the head is quantized; GPTQModel loads that, Transformers does not");
  return notes;
}

}  // namespace mpiquant
