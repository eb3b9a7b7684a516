#include <algorithm>
#include <array>

#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/base/tensor.h"
#include "src/plan/output_choice.h"
#include "src/quant/rotation.h"

namespace mpiquant {
namespace {

constexpr std::int64_t kGgmlBlock = 32;

struct FormatChoice {
  const Container* container;
  std::optional<CodecSpec> codec;  // nothing: every linear stays dense
  std::string gguf_type;
};

CodecSpec ggml_codec(const std::string& type) {
  CodecSpec codec{
      .kind = CodecKind::kQ8_0, .bits = 8, .group_size = kGgmlBlock, .symmetric = true, .scale_dtype = DType::kF16, .mse = false};
  if (type == "q4_0") codec.kind = CodecKind::kQ4_0, codec.bits = 4;
  if (type == "q4_1") codec.kind = CodecKind::kQ4_1, codec.bits = 4, codec.symmetric = false;
  return codec;
}

constexpr std::array<std::string_view, 3> kGgmlCodecs = {"q4_0", "q4_1", "q8_0"};
constexpr std::array<std::string_view, 3> kGgmlFloats = {"f16", "bf16", "f32"};

bool one_of(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}
std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}
bool is_ggml_codec(const std::string& type) {
  return std::find(kGgmlCodecs.begin(), kGgmlCodecs.end(), type) != kGgmlCodecs.end();
}

std::string default_gguf_type(const Recipe& recipe) {
  if (recipe.bits == 8) return "q8_0";
  check(recipe.bits == 4, ExitCode::kUsage,
        "--format gguf at {} bits (no GGUF type here has that width) name one, as in gguf:q4_0", recipe.bits);
  return recipe.symmetric ? "q4_0" : "q4_1";
}

// "gptq", "gguf:q4_0", "dense:compressed-tensors", …
FormatChoice choose_format(const std::string& format, const Recipe& recipe, const ModelSpec& model) {
  check_format(format);
  const std::size_t colon = format.find(':');
  FormatChoice choice{&find_container(format.substr(0, colon)), std::nullopt, ""};
  const std::string suffix = colon == std::string::npos ? "" : format.substr(colon + 1);
  const CodecSpec integers{.kind = CodecKind::kInt,
                           .bits = recipe.bits,
                           .group_size = recipe.group_size,
                           .symmetric = recipe.symmetric,
                           .scale_dtype = choice.container->scale_dtype(model),
                           .mse = recipe.mse};
  const std::string container(choice.container->name());
  if (container == "gguf") {
    choice.gguf_type = suffix.empty() ? default_gguf_type(recipe) : suffix;
    choice.gguf_type = lower(choice.gguf_type);
    if (is_ggml_codec(choice.gguf_type)) choice.codec = ggml_codec(choice.gguf_type);
  } else if (container == "dense" && is_ggml_codec(suffix)) {
    choice.codec = ggml_codec(suffix);
  } else if (container == "dense" && !suffix.empty()) {
    choice.codec = integers;
    choice.codec->scale_dtype = find_container(suffix).scale_dtype(model);
  } else {
    choice.codec = integers;
  }
  return choice;
}

void apply_rule(const Recipe& recipe, const LinearSpec& linear, LinearChoice& choice) {
  for (const Rule& rule : recipe.rules) {
    if (!matches(rule, linear.module)) continue;
    if (rule.dense) {
      choice.dense = true;
      return;
    }
    if (choice.codec.kind == CodecKind::kInt) {
      if (rule.bits) choice.codec.bits = *rule.bits;
      if (rule.group_size) choice.codec.group_size = *rule.group_size;
      if (rule.symmetric) choice.codec.symmetric = *rule.symmetric;
    } else if (rule.codec) {
      choice.codec = ggml_codec(*rule.codec);
    }
    return;
  }
}

// The largest group up to at_most that divides cols and that the container takes; -1 (whole rows) if there is none.
std::int64_t largest_group(const Container& container, std::int64_t cols, std::int64_t at_most) {
  for (std::int64_t group = std::min(cols, at_most); group > 1; --group)
    if (cols % group == 0 && container.takes_group_size(group)) return group;
  return -1;
}

// Groups that do not divide K: as the recipe says, or an error that names what fits.
void settle_ragged(const Recipe& recipe, const FormatChoice& format, const std::string& label, const LinearSpec& linear,
                   LinearChoice& choice, std::vector<std::string>& notes) {
  if (choice.dense || linear.cols % choice.codec.group_of(linear.cols) == 0 || format.container->takes_ragged_groups()) return;
  const bool integer = choice.codec.kind == CodecKind::kInt;
  for (const auto& [pattern, group] : recipe.ragged_groups) {
    if (!integer ||
        !matches(Rule{.pattern = pattern, .dense = false, .bits = {}, .group_size = {}, .symmetric = {}}, linear.module))
      continue;
    choice.codec.group_size = group;
    check(linear.cols % choice.codec.group_of(linear.cols) == 0, ExitCode::kUsage,
          "--ragged {}={}: {} has {} columns, which {} does not divide (readers of {} take whole groups only) use at most {}",
          pattern, group, linear.module, linear.cols, group, label, largest_group(*format.container, linear.cols, group));
    notes.push_back(fmt::format("{}: {} uses groups of {} (its {} columns are not a multiple of the recipe's group)", label,
                                linear.module, group, linear.cols));
    return;
  }
  if (recipe.ragged_dense) {
    choice.dense = true;
    notes.push_back(fmt::format("{}: {} stays dense (groups of {} do not divide its {} columns)", label, linear.module,
                                choice.codec.group_size, linear.cols));
    return;
  }
  if (integer)
    fail(ExitCode::kUsage,
         "group_size {} does not divide the {} columns of {} (readers of {} take whole groups only) use --group-size {}, or "
         "--ragged {}={}, "
         "or --ragged dense to leave it unquantized",
         choice.codec.group_size, linear.cols, linear.module, label,
         largest_group(*format.container, linear.cols, choice.codec.group_size), linear.module,
         largest_group(*format.container, linear.cols, choice.codec.group_size));
  fail(ExitCode::kUsage,
       "blocks of {} do not divide the {} columns of {} (the type of {} is made of such blocks) use --ragged dense to leave it "
       "unquantized",
       kGgmlBlock, linear.cols, linear.module, label);
}

}  // namespace

std::span<const std::string_view> ggml_codecs() { return kGgmlCodecs; }

std::vector<std::string> codecs_of(std::string_view container) {
  std::vector<std::string> names;
  if (container == "gguf" || container == "dense") names.insert(names.end(), kGgmlCodecs.begin(), kGgmlCodecs.end());
  if (container == "gguf") names.insert(names.end(), kGgmlFloats.begin(), kGgmlFloats.end());
  // A plain repository may hold the decoded values of another container's integers.
  if (container == "dense")
    for (const Container* other : containers())
      if (other->name() != "dense" && other->name() != "gguf") names.emplace_back(other->name());
  return names;
}

void check_format(const std::string& format) {
  const std::size_t colon = format.find(':');
  const std::string container = format.substr(0, colon);
  std::vector<std::string> names;
  for (const Container* known : containers()) names.emplace_back(known->name());
  check(one_of(names, container), ExitCode::kUsage, "format \"{}\" is unknown {}", format, suggestion(container, names));
  if (colon == std::string::npos) return;
  const std::string codec = format.substr(colon + 1);
  const std::vector<std::string> codecs = codecs_of(container);
  check(!codecs.empty(), ExitCode::kUsage,
        "format \"{}\": {} takes no codec after the colon (its grid follows from bits, group size and sym) leave it out", format,
        container);
  check(one_of(codecs, container == "gguf" ? lower(codec) : codec), ExitCode::kUsage,
        "format \"{}\": \"{}\" is no codec that {} holds here {}", format, codec, container, suggestion(codec, codecs));
}

std::optional<CodecSpec> base_codec(const std::string& format, const Recipe& recipe, const ModelSpec& model) {
  return choose_format(format, recipe, model).codec;
}

std::vector<OutputSpec> resolve_outputs(const Recipe& given, const ModelSpec& stored, const std::map<std::string, DType>& dtypes,
                                        std::vector<std::string>& notes) {
  check_recipe(given);
  const auto dtype_of = [&](const std::string& source) {
    const std::string name = stored_tensor(stored, source);
    const auto found = dtypes.find(name);
    expect(found != dtypes.end(), "no dtype for tensor {}", name);
    return found->second;
  };
  std::vector<OutputSpec> outputs;
  for (const OutputChoice& asked : given.outputs) {
    const Recipe recipe = recipe_of(given, asked);
    const std::string& label = asked.label();
    const ModelSpec model = recipe.transforms.empty() ? stored : rotated_spec(stored);
    const FormatChoice format = choose_format(asked.format, recipe, model);
    const bool is_gguf = format.container->name() == "gguf";
    OutputSpec output;
    output.label = label;
    output.folder = asked.folder();
    output.container = format.container->name();
    output.dense_dtype = recipe.dense_dtype_given ? recipe.dense_dtype : model.dtype;
    output.transforms = recipe.transforms;
    output.gguf_type = format.gguf_type;
    output.gguf_pre = recipe.gguf_pre;
    output.embedding_type = recipe.embedding_type;
    output.output_type = recipe.output_type;
    output.max_shard_bytes = recipe.max_shard_bytes;
    check(!(recipe.quantize_head && model.tied && !recipe.untie && !is_gguf), ExitCode::kUsage,
          "--lm-head on a model whose head is its embedding matrix (a {} repository cannot hold a quantized head beside a tied "
          "embedding) add --untie",
          output.container);
    output.untied = model.tied && (recipe.untie || (recipe.quantize_head && is_gguf));

    const auto keep_dense = [&](const std::string& source, const std::string& name, Shape shape) {
      output.dense.push_back({source, name, std::move(shape), dtype_of(source)});
    };
    const auto place = [&](const LinearSpec& linear, const std::string& source) {
      LinearChoice choice{
          .linear = linear, .dense = !format.codec, .codec = format.codec.value_or(CodecSpec{}), .has_g_idx = false};
      apply_rule(recipe, linear, choice);
      settle_ragged(recipe, format, label, linear, choice, notes);
      choice.has_g_idx = recipe.order == ActOrder::kDynamic && recipe.method != "rtn";
      if (choice.dense)
        keep_dense(source, linear.weight(), {linear.rows, linear.cols});
      else
        output.linears.push_back(choice);
      if (linear.has_bias) keep_dense(linear.bias(), linear.bias(), {linear.rows});
    };

    keep_dense(model.embedding, model.embedding, {model.vocab, model.hidden});
    for (const LayerSpec& layer : model.layers) {
      keep_dense(layer.input_norm, layer.input_norm, {model.hidden});
      keep_dense(layer.post_attention_norm, layer.post_attention_norm, {model.hidden});
      for (const BlockSpec& block : layer.blocks)
        for (const LinearSpec& linear : block.linears) place(linear, linear.weight());
    }
    keep_dense(model.final_norm, model.final_norm, {model.hidden});
    if (recipe.quantize_head)
      place(model.head, model.head_weight());
    else if (!model.tied || output.untied)
      keep_dense(model.head_weight(), model.head.weight(), {model.vocab, model.hidden});
    format.container->check(output, model);
    outputs.push_back(std::move(output));
  }
  return outputs;
}

bool quantizes_head(const std::vector<OutputSpec>& outputs, const ModelSpec& model) {
  return std::ranges::any_of(outputs, [&](const OutputSpec& output) {
    return std::ranges::any_of(output.linears, [&](const LinearChoice& c) { return c.linear.module == model.head.module; });
  });
}

bool has_transforms(const Recipe& recipe) {
  return std::ranges::any_of(recipe.outputs,
                             [&](const OutputChoice& output) { return !recipe_of(recipe, output).transforms.empty(); });
}

const std::vector<std::string>& forward_transforms(const Recipe& recipe, const std::vector<OutputSpec>& outputs) {
  return outputs.at(propagated_output(recipe, outputs).value_or(0)).transforms;
}

std::optional<std::size_t> propagated_output(const Recipe& recipe, const std::vector<OutputSpec>& outputs) {
  const bool by_schedule = recipe.propagate.empty();
  if (recipe.propagate == "original" || (by_schedule && recipe.schedule == Schedule::kStaged && recipe.stages > 1))
    return std::nullopt;
  if (by_schedule) return 0;
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].label == recipe.propagate) return i;
  std::vector<std::string> known;
  for (const OutputSpec& output : outputs) known.push_back(output.label);
  known.emplace_back("original");
  fail(ExitCode::kUsage, "--propagate {} is no output of this run (its decoded weights would feed the next layer) {}",
       recipe.propagate, suggestion(recipe.propagate, known));
}

}  // namespace mpiquant
