#include "src/plan/recipe.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <regex>

#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/plan/output_choice.h"

namespace mpiquant {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (true) {
    const std::size_t end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end - begin));
    if (end == std::string::npos) return parts;
    begin = end + 1;
  }
}

template <typename T>
T parse_number(const std::string& text, const std::string& rule) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  check(error == std::errc() && end == text.data() + text.size(), ExitCode::kUsage, "\"{}\" in rule \"{}\" is not a number", text,
        rule);
  return value;
}

bool matches_pattern(const std::string& pattern, const std::string& module) {
  constexpr std::string_view kRegex = "re:";
  if (!pattern.starts_with(kRegex)) return fnmatch(pattern.c_str(), module.c_str(), 0) == 0;
  try {
    return std::regex_search(module, std::regex(pattern.substr(kRegex.size())));
  } catch (const std::regex_error& e) {
    fail(ExitCode::kUsage, "\"{}\" is not a regular expression: {}", pattern.substr(kRegex.size()), e.what());
  }
}

void check_bits(int bits) {
  check(bits == 2 || bits == 3 || bits == 4 || bits == 8, ExitCode::kUsage,
        "bits = {} (containers hold 2, 3, 4 and 8 bits) choose one of these", bits);
}

// No row of a model is longer; what is larger is a typing mistake, or would overflow.
constexpr std::int64_t kLargestGroup = 1 << 20;

void check_group_size(std::int64_t group_size) {
  check(group_size == -1 || (group_size > 0 && group_size <= kLargestGroup), ExitCode::kUsage,
        "group_size = {} (a group is a number of columns, at most {}) give a positive number, or -1 for whole rows", group_size,
        kLargestGroup);
}

}  // namespace

Rule parse_rule(const std::string& text) {
  // The pattern may hold colons itself ("re:..."), so the choice begins after the last one.
  const std::size_t colon = text.rfind(':');
  check(colon != std::string::npos && colon > 0 && colon + 1 < text.size(), ExitCode::kUsage,
        "rule \"{}\" has no choice (a rule is PATTERN:dense or PATTERN:bits=B,group_size=G,sym=true|false,codec=TYPE)", text);
  Rule rule{.pattern = text.substr(0, colon), .dense = false, .bits = {}, .group_size = {}, .symmetric = {}};
  for (const std::string& item : split(text.substr(colon + 1), ',')) {
    if (item == "dense") {
      rule.dense = true;
      continue;
    }
    const std::size_t equals = item.find('=');
    const std::string key = item.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : item.substr(equals + 1);
    if (key == "bits") {
      rule.bits = parse_number<int>(value, text);
    } else if (key == "group_size") {
      rule.group_size = parse_number<std::int64_t>(value, text);
    } else if (key == "sym" && (value == "true" || value == "false")) {
      rule.symmetric = value == "true";
    } else if (key == "codec") {
      rule.codec = value;
    } else {
      fail(ExitCode::kUsage,
           "\"{}\" in rule \"{}\" is unknown (known: dense, bits=B, group_size=G, sym=true, sym=false, codec=TYPE)", item, text);
    }
  }
  check_rule(rule);
  return rule;
}

void check_rule(const Rule& rule) {
  check(!rule.pattern.empty(), ExitCode::kUsage,
        "a rule has no pattern (it says which linears are meant) give one, as *down_proj");
  const bool chooses = rule.bits || rule.group_size || rule.symmetric || rule.codec;
  check(rule.dense || chooses, ExitCode::kUsage,
        "the rule for \"{}\" says nothing (a rule is dense, or has bits, group_size, sym or codec) add one of them",
        rule.pattern);
  check(!rule.dense || !chooses, ExitCode::kUsage,
        "the rule for \"{}\" is dense and has bits, group_size, sym or codec (a dense linear has none of them) keep one",
        rule.pattern);
  if (rule.bits) check_bits(*rule.bits);
  if (rule.group_size) check_group_size(*rule.group_size);
  if (rule.codec) {
    const std::vector<std::string> known(ggml_codecs().begin(), ggml_codecs().end());
    check(std::ranges::find(known, *rule.codec) != known.end(), ExitCode::kUsage,
          "codec = \"{}\" of the rule for \"{}\" is no quantized GGUF type {}", *rule.codec, rule.pattern,
          suggestion(*rule.codec, known));
  }
  matches(rule, "");  // compiles a regular expression
}

bool matches(const Rule& rule, const std::string& module) { return matches_pattern(rule.pattern, module); }

std::string to_string(ActOrder order) {
  switch (order) {
    case ActOrder::kNone: return "none";
    case ActOrder::kStatic: return "static";
    case ActOrder::kDynamic: return "dynamic";
  }
  fail(ExitCode::kInternal, "internal error: activation order {}", static_cast<int>(order));
}

Json identity_json(const Recipe& recipe) {
  Json rules = Json::array();
  for (const Rule& rule : recipe.rules) {
    Json row = {{"pattern", rule.pattern}};
    if (rule.dense) row["dense"] = true;
    if (rule.bits) row["bits"] = *rule.bits;
    if (rule.group_size) row["group_size"] = *rule.group_size;
    if (rule.symmetric) row["sym"] = *rule.symmetric;
    if (rule.codec) row["codec"] = *rule.codec;
    rules.push_back(std::move(row));
  }
  Json ragged = Json::object();
  for (const auto& [pattern, group] : recipe.ragged_groups) ragged[pattern] = group;
  return Json{{"method", recipe.method},
              {"bits", recipe.bits},
              {"group_size", recipe.group_size},
              {"sym", recipe.symmetric},
              {"act_order", to_string(recipe.order)},
              {"transforms", recipe.transforms},
              {"damp_percent", recipe.damp_percent},
              {"damp_increment", recipe.damp_increment},
              {"gptaq_alpha", recipe.gptaq_alpha},
              {"mse", recipe.mse},
              {"true_sequential", recipe.true_sequential},
              {"compute_type", to_string(recipe.compute)},
              {"rules", rules},
              {"ragged_dense", recipe.ragged_dense},
              {"ragged_groups", ragged},
              {"lm_head", recipe.quantize_head},
              {"untie", recipe.untie},
              {"unit_samples", recipe.unit_samples}};
}

void check_recipe_values(const Recipe& recipe) {
  check_bits(recipe.bits);
  check_group_size(recipe.group_size);
  check(recipe.damp_percent > 0 && recipe.damp_percent < 1, ExitCode::kUsage,
        "damp_percent = {} (it is a fraction of the Hessian's mean diagonal) give a number between 0 and 1", recipe.damp_percent);
  check(recipe.damp_increment > 0 && recipe.damp_increment <= 1, ExitCode::kUsage,
        "damp_increment = {} (it is added after a failed factorization) give a number above 0, at most 1", recipe.damp_increment);
  check(recipe.gptaq_alpha >= 0 && recipe.gptaq_alpha <= 1, ExitCode::kUsage,
        "gptaq_alpha = {} (it is a fraction of the correction) give a number between 0 and 1", recipe.gptaq_alpha);
  check(recipe.unit_samples >= 0, ExitCode::kUsage,
        "unit_samples = {} (a unit holds at least one sample) give a positive number, or 0 for the default", recipe.unit_samples);
  check(recipe.stages >= 1, ExitCode::kUsage, "stages = {} (there is at least one stage) give a positive number", recipe.stages);
  check(recipe.max_shard_bytes >= 1, ExitCode::kUsage, "max_shard_size = {} (a file holds something) give a size, as 5GB",
        recipe.max_shard_bytes);
  for (const std::string& name : recipe.transforms)
    check(std::count(recipe.transforms.begin(), recipe.transforms.end(), name) == 1, ExitCode::kUsage,
          "transforms: {} is given twice (a model is rewritten once) keep one", name);
  check_labels(recipe.outputs);
}

void check_recipe(const Recipe& recipe) {
  check_recipe_values(recipe);
  check(recipe.schedule == Schedule::kStaged || recipe.stages == 1, ExitCode::kUsage,
        "stages = {} with the sequential schedule (it has one stage) add --schedule staged", recipe.stages);
  check(recipe.gptaq_alpha == 0 || recipe.method == "gptq", ExitCode::kUsage,
        "gptaq_alpha = {} does nothing with the method {} (it is a correction that GPTQ makes) leave it away", recipe.gptaq_alpha,
        recipe.method);
  check(!recipe.outputs.empty(), ExitCode::kUsage, "no output format is given (nothing would be written) add --format");
}

std::vector<std::string> idle_choices(const Recipe& recipe, const ModelSpec& model, const std::vector<OutputSpec>& outputs) {
  std::vector<std::string> idle, modules{model.head.module};
  for (const LayerSpec& layer : model.layers)
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) modules.push_back(linear.module);
  const auto look = [&](const char* kind, const Rule& rule) {
    if (std::ranges::none_of(modules, [&](const std::string& module) { return matches(rule, module); }))
      return idle.push_back(fmt::format("{} \"{}\" matches no linear of the model: it changes nothing", kind, rule.pattern));
    const bool changes = rule.dense || std::ranges::any_of(outputs, [&](const OutputSpec& output) {
                           return std::ranges::any_of(output.linears, [&](const LinearChoice& choice) {
                             return rule.chooses(choice.codec.kind == CodecKind::kInt) && matches(rule, choice.linear.module);
                           });
                         });
    if (!changes) idle.push_back(fmt::format("{} \"{}\" changes nothing: the outputs have their own", kind, rule.pattern));
  };
  for (const Rule& rule : recipe.rules) look("the rule", rule);
  for (const auto& [pattern, group] : recipe.ragged_groups) {
    Rule rule;
    rule.pattern = pattern;
    rule.group_size = group;
    look("the ragged group", rule);
  }

  const Recipe usual;
  const auto given = [&](const char* name, auto value, auto default_value, auto of_codec) {
    const bool used = std::ranges::any_of(outputs, [&](const OutputSpec& output) {
      return std::ranges::any_of(output.linears, [&](const LinearChoice& choice) { return of_codec(choice.codec) == value; });
    });
    if (value != default_value && !used)
      idle.push_back(fmt::format("{} = {} changes nothing: the outputs have their own", name, value));
  };
  given("bits", recipe.bits, usual.bits, [](const CodecSpec& codec) { return codec.bits; });
  given("group_size", recipe.group_size, usual.group_size, [](const CodecSpec& codec) { return codec.group_size; });
  given("sym", recipe.symmetric, usual.symmetric, [](const CodecSpec& codec) { return codec.symmetric; });
  if (!recipe.transforms.empty() &&
      std::ranges::none_of(outputs, [](const OutputSpec& output) { return !output.transforms.empty(); }))
    idle.push_back(fmt::format("transforms = {} changes nothing: the outputs have their own", fmt::join(recipe.transforms, ",")));
  given("mse", recipe.mse, usual.mse, [](const CodecSpec& codec) { return codec.mse; });
  return idle;
}

}  // namespace mpiquant
