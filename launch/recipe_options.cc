#include <array>

#include "launch/arguments.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

using Strings = std::vector<std::string>;

ActOrder parse_order(const std::string& text) {
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic})
    if (to_string(order) == text) return order;
  fail(ExitCode::kUsage, "--act-order {} is unknown (known: static, dynamic, none)", text);
}

void read_ragged(const Strings& choices, Recipe& recipe) {
  for (const std::string& choice : choices) {
    if (choice == "dense") {
      recipe.ragged_dense = true;
      continue;
    }
    const std::size_t equals = choice.rfind('=');
    check(equals != std::string::npos && equals > 0, ExitCode::kUsage, "--ragged {} is unknown (give dense, or NAME=GROUP_SIZE)",
          choice);
    const Rule rule = parse_rule(choice.substr(0, equals) + ":group_size=" + choice.substr(equals + 1));
    recipe.ragged_groups[rule.pattern] = *rule.group_size;
  }
}

}  // namespace

options::options_description recipe_options() {
  options::options_description group("Quantization");
  group.add_options()  //
      ("method", options::value<std::string>()->default_value("gptq"),
       "gptq, or rtn (round to nearest, needs no calibration)")                                                         //
      ("bits", options::value<int>()->default_value(4), "2, 3, 4 or 8")                                                 //
      ("group-size", options::value<std::int64_t>()->default_value(128), "columns that share a scale; -1: whole rows")  //
      ("act-order", options::value<std::string>(),
       "order in which columns are visited: static (by importance, groups stay in place; the default), dynamic (by importance, "
       "groups follow it; needs a format with g_idx), none")  //
      ("damp-percent", options::value<double>()->default_value(0.01, "0.01"),
       "damping, as a fraction of the Hessian's mean diagonal")                                                                 //
      ("damp-increment", options::value<double>()->default_value(0.01, "0.01"), "added after a failed factorization, up to 1")  //
      ("rule", options::value<Strings>()->composing(),
       "PATTERN:dense or PATTERN:bits=B,group_size=G,sym=true|false for linears whose name matches (shell wildcards, or "
       "re:REGEX); "
       "the first match decides; may be repeated")  //
      ("ragged", options::value<Strings>()->composing(),
       "what to do with linears that no whole number of groups fits: dense, or NAME=GROUP_SIZE; may be repeated");
  add_switch(group, "sym", "symmetric grids (default)");
  add_switch(group, "desc-act", "same as --act-order dynamic");
  add_switch(group, "mse", "search the range of each group for the least error");
  add_switch(group, "true-sequential",
             "inside a layer, calibrate each step on inputs that passed the quantized steps before it (default)");
  add_switch(group, "lm-head", "quantize the output head too");
  add_switch(group, "untie", "write the head of a tied model as a tensor of its own");
  group.add_options()  //
      ("propagate", options::value<std::string>(),
       "whose weights later layers see: an output's format (default: the first), or original")  //
      ("unit-samples", options::value<std::int64_t>()->default_value(0),
       "samples in a unit of work; 0: as many as leave 64 units");

  options::options_description output("Output");
  output.add_options()  //
      ("format", options::value<Strings>()->composing(),
       "gptq, compressed-tensors, gguf[:f32|f16|bf16|q8_0|q4_0|q4_1], dense[:CODEC]; several separated by commas (default: "
       "gptq)")  //
      ("dense-dtype", options::value<std::string>(),
       "float32, float16 or bfloat16, of the dense format (default: the model's)")  //
      ("embedding-type", options::value<std::string>()->default_value(""),
       "GGUF type of the embeddings (default: their float type)")  //
      ("output-type", options::value<std::string>()->default_value(""),
       "GGUF type of the output head (default: its float type)")  //
      ("gguf-pre", options::value<std::string>()->default_value(""),
       "tokenizer.ggml.pre of GGUF files, where it is not recognized")  //
      ("max-shard-size", options::value<std::string>()->default_value("5GB"), "largest safetensors file");

  options::options_description spread("Distribution");
  spread.add_options()  //
      ("schedule", options::value<std::string>()->default_value("sequential"),
       "sequential: every rank works on every layer; staged: each stage holds a range of layers")  //
      ("stages", options::value<int>()->default_value(1),
       "number of stages of the staged schedule; must divide the number of ranks");
  group.add(output).add(spread);
  return group;
}

Recipe read_recipe(const options::variables_map& values) {
  Recipe recipe;
  recipe.method = values["method"].as<std::string>();
  recipe.bits = values["bits"].as<int>();
  recipe.group_size = values["group-size"].as<std::int64_t>();
  recipe.symmetric = switch_value(values, "sym", true);
  if (values.count("act-order") != 0) recipe.order = parse_order(values["act-order"].as<std::string>());
  if (switch_value(values, "desc-act", false)) {
    check(values.count("act-order") == 0 || recipe.order == ActOrder::kDynamic, ExitCode::kUsage,
          "--desc-act with --act-order {} (--desc-act means dynamic) keep one", to_string(recipe.order));
    recipe.order = ActOrder::kDynamic;
  }
  recipe.damp_percent = values["damp-percent"].as<double>();
  recipe.damp_increment = values["damp-increment"].as<double>();
  recipe.mse = switch_value(values, "mse", false);
  recipe.true_sequential = switch_value(values, "true-sequential", true);
  if (values.count("rule") != 0)
    for (const std::string& text : values["rule"].as<Strings>()) recipe.rules.push_back(parse_rule(text));
  if (values.count("ragged") != 0) read_ragged(values["ragged"].as<Strings>(), recipe);
  recipe.quantize_head = switch_value(values, "lm-head", false);
  recipe.untie = switch_value(values, "untie", false);
  if (values.count("propagate") != 0) recipe.propagate = values["propagate"].as<std::string>();
  recipe.unit_samples = values["unit-samples"].as<std::int64_t>();
  if (values.count("format") != 0) {
    recipe.formats.clear();
    for (const std::string& list : values["format"].as<Strings>())
      for (std::string& format : split_commas(list)) recipe.formats.push_back(std::move(format));
  }
  if (values.count("dense-dtype") != 0) {
    const std::string& name = values["dense-dtype"].as<std::string>();
    const auto dtype = dtype_from_torch(name);
    check(dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16, ExitCode::kUsage,
          "--dense-dtype {} is unknown (known: float32, float16, bfloat16)", name);
    recipe.dense_dtype = *dtype;
    recipe.dense_dtype_given = true;
  }
  recipe.embedding_type = values["embedding-type"].as<std::string>();
  recipe.output_type = values["output-type"].as<std::string>();
  recipe.gguf_pre = values["gguf-pre"].as<std::string>();
  recipe.max_shard_bytes = parse_size(values["max-shard-size"].as<std::string>(), "--max-shard-size");
  const std::string& schedule = values["schedule"].as<std::string>();
  check(schedule == "sequential" || schedule == "staged", ExitCode::kUsage,
        "--schedule {} is unknown (known: sequential, staged)", schedule);
  recipe.schedule = schedule == "staged" ? Schedule::kStaged : Schedule::kSequential;
  recipe.stages = values["stages"].as<int>();
  check_recipe(recipe);
  return recipe;
}

}  // namespace mpiquant
