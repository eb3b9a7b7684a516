#include "io/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "io/gguf_tokenizer.h"
#include "io/model_card.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

// general.file_type of files whose linears are of one type (include/llama.h, llama_ftype).
std::uint32_t file_type(GgmlType type) {
  switch (type) {
    case GgmlType::kF32: return 0;
    case GgmlType::kF16: return 1;
    case GgmlType::kQ4_0: return 2;
    case GgmlType::kQ4_1: return 3;
    case GgmlType::kQ8_0: return 7;
    case GgmlType::kBF16: return 32;
    default: fail(ExitCode::kInternal, "internal error: no file type for {}", info(type).name);
  }
}

// "tiny-llama" → "Tiny Llama"
std::string title_of(const std::string& model_name) {
  std::string title = std::filesystem::path(model_name).filename().string();
  bool start = true;
  for (char& c : title) {
    if (c == '-' || c == '_') c = ' ';
    if (start) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    start = c == ' ';
  }
  return title;
}

double parameter_count(const ModelSpec& model) {
  const auto of = [](std::int64_t rows, std::int64_t cols) { return static_cast<double>(rows) * static_cast<double>(cols); };
  double count = of(model.vocab, model.hidden) * (model.tied ? 1 : 2) + static_cast<double>(model.hidden);
  for (const LayerSpec& layer : model.layers) {
    count += 2 * static_cast<double>(model.hidden);
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears)
        count += of(linear.rows, linear.cols) + (linear.has_bias ? static_cast<double>(linear.rows) : 0);
  }
  return count;
}

// What Transformers multiplies yarn's cosines and sines with, over what llama.cpp multiplies them with by itself.
double yarn_attention_ratio(const RopeSpec& rope) {
  const auto scale = [&](double mscale) { return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0; };
  double factor = scale(1);
  if (rope.attention_factor)
    factor = *rope.attention_factor;
  else if (rope.mscale && rope.mscale_all_dim)
    factor = scale(*rope.mscale) / scale(*rope.mscale_all_dim);
  return factor / scale(1);
}

class Writer {
 public:
  template <typename T>
  void add(const std::string& key, T value) {
    values.push_back({key, GgufValue(std::move(value))});
  }
  void count(const std::string& key, std::int64_t value) { add(key, static_cast<std::uint32_t>(value)); }
  void real(const std::string& key, double value) { add(key, static_cast<float>(value)); }
  void text(const std::string& key, const std::string& value) { add(key, value); }

  std::vector<GgufKeyValue> values;
};

void add_rope(const ModelSpec& model, Writer& writer) {
  const RopeSpec& rope = model.rope;
  if (rope.type == RopeType::kLinear || rope.type == RopeType::kYarn) {
    writer.text("llama.rope.scaling.type", rope.type == RopeType::kLinear ? "linear" : "yarn");
    writer.real("llama.rope.scaling.factor", rope.factor);
  }
  if (rope.type == RopeType::kYarn) {
    writer.count("llama.rope.scaling.original_context_length", rope.original_context);
    const double ratio = yarn_attention_ratio(rope);
    if (ratio != 1) writer.real("llama.rope.scaling.attn_factor", ratio);
    writer.real("llama.rope.scaling.yarn_beta_fast", rope.beta_fast);
    writer.real("llama.rope.scaling.yarn_beta_slow", rope.beta_slow);
  }
  writer.real("llama.rope.freq_base", rope.theta);
}

void add_tokenizer(const OutputSpec& output, const RunFacts& facts, Writer& writer) {
  const ModelSpec& model = *facts.model;
  GgufTokenizer tokenizer = read_gguf_tokenizer(facts.model_dir, model.vocab, output.gguf_pre);
  const bool merges = tokenizer.model == "gpt2";
  writer.text("tokenizer.ggml.model", tokenizer.model);
  writer.text("tokenizer.ggml.pre", tokenizer.pre);
  writer.add("tokenizer.ggml.tokens", std::move(tokenizer.tokens));
  if (!merges) writer.add("tokenizer.ggml.scores", std::move(tokenizer.scores));
  writer.add("tokenizer.ggml.token_type", std::move(tokenizer.types));
  if (merges) writer.add("tokenizer.ggml.merges", std::move(tokenizer.merges));
  const GgufSpecialTokens& special = tokenizer.special;
  for (const auto& [name, id] : special.ids) writer.add("tokenizer.ggml." + name + "_token_id", id);
  writer.add("tokenizer.ggml.add_bos_token", special.add_bos);
  writer.add("tokenizer.ggml.add_eos_token", special.add_eos);
  writer.add("tokenizer.ggml.add_sep_token", false);
  if (tokenizer.add_space_prefix) writer.add("tokenizer.ggml.add_space_prefix", *tokenizer.add_space_prefix);
  std::vector<std::string> names;
  for (const auto& [name, source] : special.chat_templates) {
    writer.text(name.empty() ? "tokenizer.chat_template" : "tokenizer.chat_template." + name, source);
    if (!name.empty()) names.push_back(name);
  }
  if (!names.empty()) writer.add("tokenizer.chat_templates", std::move(names));
}

}  // namespace

std::string size_label(double parameters) {
  struct Unit {
    double size;
    char suffix;
  };
  constexpr std::array<Unit, 3> kUnits = {{{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}}};
  Unit unit{1e3, 'K'};
  for (auto it = kUnits.rbegin(); it != kUnits.rend(); ++it)
    if (parameters > it->size) unit = *it;
  const double scaled = parameters / unit.size;
  return fmt::format("{:.{}f}{}", scaled, std::nearbyint(scaled) < 10 ? 1 : 0, unit.suffix);
}

std::vector<GgufKeyValue> gguf_metadata(const OutputSpec& output, const RunFacts& facts, GgmlType type) {
  const ModelSpec& model = *facts.model;
  Writer writer;
  writer.text("general.architecture", "llama");
  writer.text("general.type", "model");
  writer.text("general.name", title_of(facts.model_name));
  writer.text("general.size_label", size_label(parameter_count(model)));
  if (const std::string license = source_license(facts.model_dir); !license.empty()) writer.text("general.license", license);
  writer.count("llama.block_count", static_cast<std::int64_t>(model.layers.size()));
  writer.count("llama.context_length", model.context);
  writer.count("llama.embedding_length", model.hidden);
  writer.count("llama.feed_forward_length", model.intermediate);
  writer.count("llama.attention.head_count", model.heads);
  writer.count("llama.attention.head_count_kv", model.kv_heads);
  add_rope(model, writer);
  writer.real("llama.attention.layer_norm_rms_epsilon", model.norm_eps);
  writer.count("llama.attention.key_length", model.head_dim);
  writer.count("llama.attention.value_length", model.head_dim);
  if (!model.layers.empty() && model.layers.front().sliding_window > 0)
    writer.count("llama.attention.sliding_window", model.layers.front().sliding_window);
  writer.add("general.file_type", file_type(type));
  writer.count("llama.vocab_size", model.vocab);
  writer.count("llama.rope.dimension_count", model.head_dim);
  writer.add("general.quantization_version", std::uint32_t{2});
  if (!facts.transforms.empty()) writer.add("mpiquant.transforms", facts.transforms);
  add_tokenizer(output, facts, writer);
  return std::move(writer.values);
}

std::vector<std::string> gguf_notes(const ModelSpec& model) {
  std::vector<std::string> notes;
  const RopeSpec& rope = model.rope;
  if (rope.type == RopeType::kYarn && (rope.beta_fast != 32 || rope.beta_slow != 1 || !rope.truncate))
    notes.emplace_back("llama.cpp computes this architecture's yarn with beta 32 and 1 and whole dimensions, unlike the model");
  if (std::ranges::any_of(model.layers,
                          [&](const LayerSpec& l) { return l.sliding_window > 0 && l.sliding_window < model.context; }))
    notes.emplace_back(
        "llama.cpp has no sliding window for this architecture; beyond the window its results differ from the model's");
  return notes;
}

}  // namespace mpiquant
