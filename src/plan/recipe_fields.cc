#include "src/plan/recipe_fields.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "src/base/error.h"
#include "src/base/nearest.h"
#include "src/plan/output_choice.h"
#include "src/quant/method.h"
#include "src/quant/rotation.h"

namespace mpiquant {
namespace {

using Strings = std::vector<std::string>;

const std::string& only(const FieldText& given) {
  check(given.texts.size() == 1, ExitCode::kUsage, "{} has {} values (it takes one) keep one", given.name, given.texts.size());
  return given.texts.front();
}

template <typename T>
T number(const FieldText& given, const char* what) {
  const std::string& text = only(given);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  bool fits = error == std::errc() && end == text.data() + text.size() && !text.empty();
  if constexpr (std::is_floating_point_v<T>) fits = fits && std::isfinite(value);
  check(fits, ExitCode::kUsage, "{} = \"{}\" is not {} (it takes one number, in digits) give such a number", given.name, text,
        what);
  return value;
}

void read(const FieldText& given, bool& out) {
  const std::string& text = only(given);
  check(text == "true" || text == "false", ExitCode::kUsage,
        "{} = \"{}\" is neither true nor false (it is a switch) give one of them", given.name, text);
  out = text == "true";
}
void read(const FieldText& given, int& out) { out = number<int>(given, "a whole number"); }
void read(const FieldText& given, std::int64_t& out) { out = number<std::int64_t>(given, "a whole number"); }
void read(const FieldText& given, std::uint64_t& out) { out = number<std::uint64_t>(given, "a whole number of 0 or more"); }
void read(const FieldText& given, double& out) { out = number<double>(given, "a number"); }
void read(const FieldText& given, std::string& out) { out = only(given); }
void read(const FieldText& given, std::optional<std::string>& out) { out = only(given); }
void read(const FieldText& given, Strings& out) { out = given.texts; }
// -1 takes a limit away.
void read(const FieldText& given, std::optional<std::int64_t>& out) {
  const auto limit = number<std::int64_t>(given, "a whole number");
  check(limit >= -1, ExitCode::kUsage, "{} = {} is no limit (it counts things) give 0 or more, or -1 for no limit", given.name,
        limit);
  out = limit < 0 ? std::nullopt : std::optional(limit);
}

std::string show(bool value) { return value ? "true" : "false"; }
std::string show(const std::string& value) { return value; }
std::string show(const std::optional<std::string>& value) { return value.value_or(""); }
std::string show(const std::optional<std::int64_t>& value) { return value ? fmt::format("{}", *value) : ""; }
std::string show(const Strings& values) {
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : ",") + value;
  return out;
}
template <typename T>
std::string show(T value) {
  return fmt::format("{}", value);
}

// The part of the choices (const or not) that a member of T belongs to.
template <typename T, typename All>
auto& part(All& all) {
  if constexpr (std::is_same_v<T, Recipe>) {
    return all.recipe;
  } else if constexpr (std::is_same_v<T, CalibrationChoice>) {
    return all.calibration;
  } else if constexpr (std::is_same_v<T, CalibrationOptions>) {
    return all.calibration.cut;
  } else {
    static_assert(std::is_same_v<T, Gates>);
    return all.gates;
  }
}

template <typename Class, typename Value>
Class class_of(Value Class::*);

template <auto Member>
void set(RunChoices& all, const FieldText& given) {
  read(given, part<decltype(class_of(Member))>(all).*Member);
}
template <auto Member>
std::string shown(const RunChoices& all) {
  return show(part<decltype(class_of(Member))>(all).*Member);
}

Strings method_names() {
  Strings names;
  for (const Method& method : methods()) names.emplace_back(method.name);
  return names;
}
Strings bit_widths() { return {"2", "3", "4", "8"}; }
Strings order_names() { return {"static", "dynamic", "none"}; }
Strings compute_names() { return {"f32", "bf16", "f16"}; }
Strings schedule_names() { return {"sequential", "staged"}; }
Strings transform_names() { return {std::string(kRotation), "none"}; }
Strings bos_names() { return {"auto", "always", "never"}; }
Strings dense_dtypes() { return {"float32", "float16", "bfloat16"}; }
Strings gguf_types() { return codecs_of("gguf"); }

std::string choice(const FieldText& given, const Strings& known) {
  const std::string& text = only(given);
  check(std::find(known.begin(), known.end(), text) != known.end(), ExitCode::kUsage, "{} = \"{}\" is unknown {}", given.name,
        text, suggestion(text, known));
  return text;
}

void set_method(RunChoices& all, const FieldText& given) { all.recipe.method = choice(given, method_names()); }

void set_order(RunChoices& all, const FieldText& given) {
  const std::string name = choice(given, order_names());
  for (const ActOrder order : {ActOrder::kNone, ActOrder::kStatic, ActOrder::kDynamic})
    if (to_string(order) == name) all.recipe.order = order;
}
std::string shown_order(const RunChoices& all) { return to_string(all.recipe.order); }

void set_compute(RunChoices& all, const FieldText& given) {
  all.recipe.compute = compute_type(choice(given, compute_names())).value();
}
std::string shown_compute(const RunChoices& all) { return std::string(to_string(all.recipe.compute)); }

void set_schedule(RunChoices& all, const FieldText& given) {
  all.recipe.schedule = choice(given, schedule_names()) == "staged" ? Schedule::kStaged : Schedule::kSequential;
}
std::string shown_schedule(const RunChoices& all) { return all.recipe.schedule == Schedule::kStaged ? "staged" : "sequential"; }

void set_bos(RunChoices& all, const FieldText& given) { all.calibration.cut.bos = bos_mode(choice(given, bos_names())); }
std::string shown_bos(const RunChoices& all) { return to_string(all.calibration.cut.bos); }

void set_dense_dtype(RunChoices& all, const FieldText& given) {
  all.recipe.dense_dtype = dtype_from_torch(choice(given, dense_dtypes())).value();
  all.recipe.dense_dtype_given = true;
}
std::string shown_dense_dtype(const RunChoices& all) {
  return all.recipe.dense_dtype_given ? std::string(info(all.recipe.dense_dtype).torch_name) : "";
}

template <auto Member>
void set_gguf_type(RunChoices& all, const FieldText& given) {
  all.recipe.*Member = choice(given, gguf_types());
}

void set_shard_size(RunChoices& all, const FieldText& given) {
  all.recipe.max_shard_bytes = parse_bytes(only(given), given.name);
}
std::string shown_shard_size(const RunChoices& all) {
  constexpr std::int64_t kGiga = 1'000'000'000;
  const std::int64_t bytes = all.recipe.max_shard_bytes;
  return bytes % kGiga == 0 ? fmt::format("{}GB", bytes / kGiga) : fmt::format("{}", bytes);
}

void set_transforms(RunChoices& all, const FieldText& given) {
  all.recipe.transforms.clear();
  for (const std::string& text : given.texts)
    if (const std::string name = choice({given.name, {text}}, transform_names()); name == kRotation || given.texts.size() > 1)
      all.recipe.transforms.push_back(name);
  check(std::ranges::count(all.recipe.transforms, "none") == 0, ExitCode::kUsage,
        "{} has none beside other names (they contradict each other) keep one", given.name);
}

void set_rules(RunChoices& all, const FieldText& given) {
  all.recipe.rules.clear();
  for (const std::string& text : given.texts) all.recipe.rules.push_back(parse_rule(text));
}
std::string shown_nothing(const RunChoices&) { return ""; }

void set_ragged(RunChoices& all, const FieldText& given) {
  all.recipe.ragged_dense = false;
  all.recipe.ragged_groups.clear();
  for (const std::string& text : given.texts) {
    if (text == "dense") {
      all.recipe.ragged_dense = true;
      continue;
    }
    const std::size_t equals = text.rfind('=');
    check(equals != std::string::npos && equals > 0, ExitCode::kUsage,
          "{} = \"{}\" is unknown (known: dense, or PATTERN=GROUP_SIZE)", given.name, text);
    const Rule rule = parse_rule(text.substr(0, equals) + ":group_size=" + text.substr(equals + 1));
    check(all.recipe.ragged_groups.emplace(rule.pattern, *rule.group_size).second, ExitCode::kUsage,
          "{} has the pattern \"{}\" twice (one of them would have no effect) keep one", given.name, rule.pattern);
  }
}

void set_outputs(RunChoices& all, const FieldText& given) { all.recipe.outputs = parse_outputs(given.texts, given.name); }
std::string shown_outputs(const RunChoices& all) { return to_text(all.recipe.outputs); }

constexpr auto kValue = FieldKind::kValue;
constexpr auto kSwitch = FieldKind::kSwitch;
constexpr auto kList = FieldKind::kList;
constexpr auto kNone = Completion::kNone;
constexpr auto kFile = Completion::kFile;

using R = Recipe;
using C = CalibrationChoice;
using O = CalibrationOptions;
using G = Gates;

// clang-format off
constexpr auto kFields = std::to_array<RecipeField>({
  {"", "method", "method", kValue, "NAME", "how codes are chosen: gptq, or rtn (round to nearest, needs no calibration)", "rtn", kNone,
   method_names, set_method, shown<&R::method>},
  {"", "bits", "bits", kValue, "B", "width of a code", "3", kNone, bit_widths, set<&R::bits>, shown<&R::bits>},
  {"", "group_size", "group-size", kValue, "N", "columns that share a scale; -1: whole rows", "64", kNone,
   nullptr, set<&R::group_size>, shown<&R::group_size>},
  {"", "sym", "sym", kSwitch, "", "grids around zero; else with a zero point", "false", kNone, nullptr, set<&R::symmetric>, shown<&R::symmetric>},
  {"", "act_order", "act-order", kValue, "ORDER", "order in which columns are visited: static (by importance, groups stay in place), "
   "dynamic (by importance, groups follow it; needs a format with g_idx), none", "dynamic", kNone, order_names, set_order, shown_order},
  {"", "transforms", "transform", kList, "NAME", "rewriting of the model before the method that keeps its function: rotate (Hadamard "
   "rotations spread outliers; the head of a tied model is written as a tensor of its own), or none, as a recipe's is taken back", "rotate", kNone, transform_names, set_transforms, shown<&R::transforms>},
  {"", "damp_percent", "damp-percent", kValue, "X", "damping, as a fraction of the Hessian's mean diagonal", "0.05", kNone,
   nullptr, set<&R::damp_percent>, shown<&R::damp_percent>},
  {"", "damp_increment", "damp-increment", kValue, "X", "added after a failed factorization, up to 1", "0.02", kNone,
   nullptr, set<&R::damp_increment>, shown<&R::damp_increment>},
  {"", "gptaq_alpha", "gptaq-alpha", kValue, "X", "GPTAQ: weights make up for what earlier quantized layers have changed in their inputs, "
   "by this fraction of the least-squares correction; 0: not at all. Calibration takes twice as long", "0.5", kNone,
   nullptr, set<&R::gptaq_alpha>, shown<&R::gptaq_alpha>},
  {"", "mse", "mse", kSwitch, "", "search the range of each group for the least error", "true", kNone, nullptr, set<&R::mse>, shown<&R::mse>},
  {"", "true_sequential", "true-sequential", kSwitch, "",
   "inside a layer, calibrate each step on inputs that passed the quantized steps before it", "false", kNone,
   nullptr, set<&R::true_sequential>, shown<&R::true_sequential>},
  {"", "compute", "compute", kValue, "TYPE", "products of activations: f32, bf16 (faster where the processor has AVX512-BF16 or AMX; the "
   "codes differ slightly), or f16 (GPUs alone)", "bf16", kNone, compute_names, set_compute, shown_compute},
  {"", "rules", "rule", kList, "PATTERN:CHOICE", "dense, or bits=B,group_size=G,sym=true|false,codec=TYPE (of GGUF), for linears whose name "
   "matches (shell wildcards, or re:REGEX); the first match decides", "*.down_proj:bits=8", kNone, nullptr, set_rules, shown_nothing},
  {"", "ragged", "ragged", kList, "CHOICE", "linears that no whole number of groups fits, but in `dense` outputs, which take a shorter last group: dense, or PATTERN=GROUP_SIZE", "dense",
   kNone, nullptr, set_ragged, shown_nothing},
  {"", "lm_head", "lm-head", kSwitch, "", "quantize the output head too", "true", kNone, nullptr, set<&R::quantize_head>, shown<&R::quantize_head>},
  {"", "untie", "untie", kSwitch, "", "write the head of a tied model as a tensor of its own", "true", kNone,
   nullptr, set<&R::untie>, shown<&R::untie>},
  {"", "propagate", "propagate", kValue, "OUTPUT", "whose weights later layers see: one of the outputs, by its name or format (by default "
   "the first), or original",
   "original", kNone, nullptr, set<&R::propagate>, shown<&R::propagate>},
  {"", "unit_samples", "unit-samples", kValue, "N", "samples in a unit of work; 0: as many as leave 64 units", "2", kNone,
   nullptr, set<&R::unit_samples>, shown<&R::unit_samples>},
  {"", "outputs", "format", kList, "FORMATS", "gptq, compressed-tensors, gguf[:TYPE], dense[:CODEC]; several separated by commas "
   "(mpiquant list formats), each with what is its own in brackets: gptq[bits=3,group_size=64,name=small]", "gguf:q4_0", kNone,
   nullptr, set_outputs, shown_outputs},
  {"", "dense_dtype", "dense-dtype", kValue, "DTYPE", "of the dense format (by default the model's)", "float16", kNone,
   dense_dtypes, set_dense_dtype, shown_dense_dtype},
  {"", "embedding_type", "embedding-type", kValue, "TYPE", "GGUF type of the embeddings (by default their float type)", "q8_0", kNone,
   gguf_types, set_gguf_type<&R::embedding_type>, shown<&R::embedding_type>},
  {"", "output_type", "output-type", kValue, "TYPE", "GGUF type of the output head (by default its float type)", "q8_0", kNone,
   gguf_types, set_gguf_type<&R::output_type>, shown<&R::output_type>},
  {"", "gguf_pre", "gguf-pre", kValue, "NAME", "tokenizer.ggml.pre of GGUF files, where it is not recognized", "llama-bpe", kNone,
   nullptr, set<&R::gguf_pre>, shown<&R::gguf_pre>},
  {"", "max_shard_size", "max-shard-size", kValue, "SIZE", "largest safetensors file", "2GB", kNone,
   nullptr, set_shard_size, shown_shard_size},

  {"calibration", "files", "calibration", kList, "FILE", "text, .jsonl or .json file, or hf:NAME[:CONFIG][:SPLIT][:FIELD] of the local "
   "data sets cache (by default a bundled text, good for a try only)", "text.txt", kFile, nullptr, set<&C::files>, shown<&C::files>},
  {"calibration", "texts", "calibration-text", kList, "TEXT", "text right here", "Once upon a time", kNone,
   nullptr, set<&C::texts>, shown<&C::texts>},
  {"calibration", "ids", "calibration-ids", kValue, "FILE", "exact token ids instead of text: JSON (list of lists) or HDF5", "ids.json",
   kFile, nullptr, set<&C::ids>, shown<&C::ids>},
  {"calibration", "token_store", "token-store", kValue, "FILE", "HDF5 file of tokenized samples: read if it exists, else written",
   "tokens.h5", kFile, nullptr, set<&C::token_store>, shown<&C::token_store>},
  {"calibration", "nsamples", "nsamples", kValue, "N", "number of samples", "64", kNone, nullptr, set<&O::nsamples>, shown<&O::nsamples>},
  {"calibration", "seqlen", "seqlen", kValue, "N", "tokens of a sample; cut to the model's context", "512", kNone,
   nullptr, set<&O::seqlen>, shown<&O::seqlen>},
  {"calibration", "shuffle", "shuffle", kSwitch, "", "draw the samples instead of taking the first ones", "true", kNone,
   nullptr, set<&O::shuffle>, shown<&O::shuffle>},
  {"calibration", "seed", "seed", kValue, "N", "of the draw", "7", kNone, nullptr, set<&O::seed>, shown<&O::seed>},
  {"calibration", "split_on", "split-on", kValue, "TEXT", "one sample a document: what lies between occurrences of this string",
   "<|endoftext|>", kNone, nullptr, set<&O::split_on>, shown<&O::split_on>},
  {"calibration", "bos", "bos", kValue, "WHEN", "begin samples with BOS: auto (documents only), always, never", "never", kNone,
   bos_names, set_bos, shown_bos},
  {"calibration", "field", "field", kValue, "NAME", "field of .json and .jsonl files that holds the text", "content", kNone,
   nullptr, set<&C::field>, shown<&C::field>},
  {"calibration", "python", "python", kValue, "PROGRAM", "Python that reads hf: data sets and applies chat templates", "python3.11",
   kFile, nullptr, set<&C::python>, shown<&C::python>},

  {"distribution", "schedule", "schedule", kValue, "NAME", "sequential: every rank works on every layer; staged: each stage holds a "
   "range of layers", "staged", kNone, schedule_names, set_schedule, shown_schedule},
  {"distribution", "stages", "stages", kValue, "S", "number of stages of the staged schedule; must divide the number of ranks", "2", kNone,
   nullptr, set<&R::stages>, shown<&R::stages>},

  {"gates", "max_fallbacks", "max-fallbacks", kValue, "N", "most tensors that may need a fallback of any kind", "0", kNone,
   nullptr, set<&G::max_fallbacks>, shown<&G::max_fallbacks>},
  {"gates", "max_damping_retries", "max-damping-retries", kValue, "N", "most failed factorizations that more damping repaired", "3", kNone,
   nullptr, set<&G::max_damping_retries>, shown<&G::max_damping_retries>},
  {"gates", "max_clipped_scales", "max-clipped-scales", kValue, "N", "most scales that may leave the range of their stored type", "0", kNone,
   nullptr, set<&G::max_clipped_scales>, shown<&G::max_clipped_scales>},
});
// clang-format on

}  // namespace

std::string RecipeField::path() const { return section.empty() ? std::string(key) : fmt::format("{}.{}", section, key); }

std::span<const RecipeField> recipe_fields() { return kFields; }

const RecipeField* find_recipe_field(std::string_view section, std::string_view key) {
  for (const RecipeField& field : kFields)
    if (field.section == section && field.key == key) return &field;
  return nullptr;
}

}  // namespace mpiquant
