#include "io/gptq_config.h"

#include <algorithm>

#include "io/linear_patterns.h"

namespace mpiquant {
namespace {

// Patterns that the base settings do not cover, as GPTQModel's `dynamic`: "-:" is dense, "+:" overrides.
Json dynamic_of(const std::vector<LinearPattern>& patterns, const CodecSpec& base) {
  Json dynamic = Json::object();
  for (const LinearPattern& pattern : patterns) {
    if (pattern.codec == base) continue;
    Json settings = Json::object();
    if (pattern.codec) {
      if (pattern.codec->bits != base.bits) settings["bits"] = pattern.codec->bits;
      if (pattern.codec->group_size != base.group_size) settings["group_size"] = pattern.codec->group_size;
      if (pattern.codec->symmetric != base.symmetric) settings["sym"] = pattern.codec->symmetric;
    }
    dynamic[(pattern.codec ? "+:^" : "-:^") + pattern.regex + "$"] = std::move(settings);
  }
  return dynamic;
}

// The suffixes with a codec in some layer, a list a block; null if that is all of them.
Json quantized_suffixes(const OutputSpec& output, const ModelSpec& model) {
  Json lists = Json::array();
  bool all = true;
  const std::vector<BlockSpec>& blocks = model.layers.front().blocks;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    Json list = Json::array();
    for (std::size_t i = 0; i < blocks[b].linears.size(); ++i) {
      const bool quantized = std::ranges::any_of(
          model.layers, [&](const LayerSpec& layer) { return is_quantized(output, layer.blocks[b].linears[i].module); });
      all = all && quantized;
      if (quantized) list.push_back(suffix_of(model.layers.front(), blocks[b].linears[i].module));
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
  const CodecSpec base = common_codec(output);
  const char* format = gptq_is_v1(output) ? "gptq" : "gptq_v2";
  Json config;
  config["bits"] = base.bits;
  config["group_size"] = base.group_size;
  config["desc_act"] = std::ranges::any_of(output.linears, &LinearChoice::has_g_idx);
  config["sym"] = base.symmetric;
  config["lm_head"] = is_quantized(output, model.head.module);
  config["quant_method"] = "gptq";
  config["method"] = "gptq";
  config["checkpoint_format"] = format;
  config["format"] = format;
  config["pack_dtype"] = "int32";
  Json dynamic = dynamic_of(linear_patterns(output, model), base);
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
    if (facts.gptaq_alpha > 0) meta["gptaq"] = {{"alpha", facts.gptaq_alpha}};
  }
  meta["mse"] = facts.mse;
  return config;
}

std::vector<std::string> gptq_notes(const OutputSpec& output, const ModelSpec& model) {
  std::vector<std::string> notes;
  const CodecSpec base = common_codec(output);
  const bool mixed = std::ranges::any_of(linear_patterns(output, model), [&](const LinearPattern& pattern) {
    const bool one_of_many = pattern.modules.size() < model.layers.size() && pattern.modules.front() != model.head.module;
    return pattern.codec != base && (pattern.codec || one_of_many);
  });
  if (mixed)
    notes.emplace_back("linears differ in a way that only `dynamic` expresses; GPTQModel reads it, Transformers does not");
  if (is_quantized(output, model.head.module))
    notes.emplace_back("the head is quantized; GPTQModel loads that, Transformers does not");
  return notes;
}

}  // namespace mpiquant
