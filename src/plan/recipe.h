#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/container.h"
#include "kernels/codec/codec.h"
#include "src/base/json.h"
#include "src/base/model_spec.h"

namespace mpiquant {

// A choice for the linears whose module name matches a pattern (shell wildcards; "re:" begins a regular expression).
struct Rule {
  std::string pattern;
  bool dense = false;
  std::optional<int> bits;
  std::optional<std::int64_t> group_size;
  std::optional<bool> symmetric;
  std::optional<std::string> codec = {};  // ggml type, in outputs that have one; the others are of integer grids

  // Whether it chooses anything but dense for a grid of integers, or else for blocks.
  bool chooses(bool integers) const { return integers ? bits || group_size || symmetric : codec.has_value(); }
};

// "PATTERN:dense", or any of "PATTERN:bits=8,group_size=64,sym=true,codec=q8_0". Throws (usage error).
Rule parse_rule(const std::string& text);
bool matches(const Rule& rule, const std::string& module);
// Checks that a rule says something and does not contradict itself. Throws (usage error).
void check_rule(const Rule& rule);

// One output of a run: a container with a codec, and what is its own. What is not comes from the recipe.
struct OutputChoice {
  std::string format = "gptq";                          // container, and codec where it holds several: "gguf:q4_0"
  std::string name;                                     // empty: it is called as its format
  std::map<std::string, std::vector<std::string>> own;  // key of a recipe's field → value, as text
  std::vector<Rule> rules;                              // looked at before the recipe's

  // Names the output in --propagate, messages and reports; unlike those of the run's other outputs.
  const std::string& label() const { return name.empty() ? format : name; }
  // Its folder, where a run has several outputs: the label without what folders cannot be called.
  std::string folder() const;
};

enum class Schedule : std::uint8_t { kSequential, kStaged };

// All choices of a run that decide its output bytes, with their defaults, and the way it is spread over ranks.
struct Recipe {
  std::string method = "gptq";
  int bits = 4;
  std::int64_t group_size = 128;
  bool symmetric = true;
  ActOrder order = ActOrder::kStatic;
  std::vector<std::string> transforms;  // exact rewritings of the model before the method: "rotate"
  double damp_percent = 0.01;
  double damp_increment = 0.01;
  double gptaq_alpha = 0;  // how much of what inputs have lost to earlier layers the weights make up for; 0: nothing
  bool mse = false;
  bool true_sequential = true;
  ComputeType compute = ComputeType::kF32;  // of products of activations
  std::vector<OutputChoice> outputs = {OutputChoice{}};
  std::string propagate;                              // label of an output or "original"; empty: by schedule
  std::vector<Rule> rules;                            // the first that matches decides
  bool ragged_dense = false;                          // linears that no group fits stay dense
  std::map<std::string, std::int64_t> ragged_groups;  // pattern -> group size for linears whose K the group does not divide
  bool quantize_head = false;
  bool untie = false;
  DType dense_dtype = DType::kBF16;
  bool dense_dtype_given = false;  // else the model's dtype
  std::string embedding_type, output_type, gguf_pre;
  std::int64_t max_shard_bytes = 5'000'000'000;
  std::int64_t unit_samples = 0;  // 0: as many as leave 64 units
  Schedule schedule = Schedule::kSequential;
  int stages = 1;
};

std::string to_string(ActOrder order);

// What identifies the output of a recipe: everything but its list of outputs, and schedule and stages, which change no byte.
Json identity_json(const Recipe& recipe);

// Checks values that no model is needed for: bits, group size, damping, unit samples; check_recipe also that they fit each other.
// Throws (usage error).
void check_recipe_values(const Recipe& recipe);
void check_recipe(const Recipe& recipe);

// The quantized types of GGUF files: "q4_0", …
std::span<const std::string_view> ggml_codecs();

// What may stand behind the colon of --format CONTAINER:CODEC, the default first; empty: nothing.
std::vector<std::string> codecs_of(std::string_view container);
// Checks that a format is CONTAINER or CONTAINER:CODEC of the tables. Throws (usage error) with the nearest name.
void check_format(const std::string& format);
// The codec of an output's linears where no rule says otherwise; nothing: they stay floats. recipe: of this output
// (recipe_of). Throws (usage error).
std::optional<CodecSpec> base_codec(const std::string& format, const Recipe& recipe, const ModelSpec& model);

// True if some output is of the transformed model.
bool has_transforms(const Recipe& recipe);
// Transforms of the model whose activations pass the layers: those of the propagated output, or of the first.
const std::vector<std::string>& forward_transforms(const Recipe& recipe, const std::vector<OutputSpec>& outputs);

// The outputs of a recipe for a model as it is stored, each linear with its codec, checked against what its container can hold;
// fallbacks that the recipe allows are appended to `notes`. dtypes: dtype of each source tensor by name.
std::vector<OutputSpec> resolve_outputs(const Recipe& recipe, const ModelSpec& model, const std::map<std::string, DType>& dtypes,
                                        std::vector<std::string>& notes);

// What of a recipe changes nothing, a sentence each: patterns that match no linear of the model; widths, groups and grids that
// no linear of the outputs has, because their types have their own.
std::vector<std::string> idle_choices(const Recipe& recipe, const ModelSpec& model, const std::vector<OutputSpec>& outputs);

// True if some output stores the model's head with a codec.
bool quantizes_head(const std::vector<OutputSpec>& outputs, const ModelSpec& model);

// Index of the output whose decoded weights the next layer sees; nothing for the original weights.
std::optional<std::size_t> propagated_output(const Recipe& recipe, const std::vector<OutputSpec>& outputs);

}  // namespace mpiquant
