#include "io/gguf_source.h"

#include <algorithm>
#include <optional>

#include "io/ggml_blocks.h"
#include "io/gguf_llama.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

bool is_float_type(GgmlType type) { return type == GgmlType::kF32 || type == GgmlType::kF16 || type == GgmlType::kBF16; }

std::optional<std::int64_t> find_count(const GgufHeader& header, const std::string& key) {
  const auto* value = header.get<std::uint32_t>(key);
  return value == nullptr ? std::nullopt : std::optional<std::int64_t>(*value);
}

std::int64_t count_of(const GgufHeader& header, const std::string& key) {
  const auto value = find_count(header, key);
  check(value.has_value(), ExitCode::kInput, "the GGUF file has no {} (a number without which the model cannot be built)", key);
  return *value;
}

std::int64_t head_dim_of(const GgufHeader& header) {
  const std::int64_t heads = count_of(header, "llama.attention.head_count");
  check(heads > 0, ExitCode::kInput, "llama.attention.head_count is 0");
  const std::int64_t dim =
      find_count(header, "llama.attention.key_length").value_or(count_of(header, "llama.embedding_length") / heads);
  check(dim > 0 && dim % 2 == 0, ExitCode::kInput, "heads have {} elements; an even number is needed", dim);
  return dim;
}

// Stored rows [begin, end) of a tensor as fp32.
std::vector<float> stored_rows(const File& file, const GgufTensor& tensor, std::int64_t begin, std::int64_t end) {
  const std::int64_t cols = tensor.dims.size() < 2 ? 1 : tensor.dims[0];
  const std::int64_t rows = tensor.dims.back();
  const std::int64_t row_bytes = tensor.bytes / rows;
  std::vector<std::byte> bytes(static_cast<std::size_t>((end - begin) * row_bytes));
  file.read_at(tensor.offset + begin * row_bytes, bytes);
  std::vector<float> values(static_cast<std::size_t>((end - begin) * cols));
  decode_ggml_rows(tensor.type, cols, bytes, values);
  return values;
}

double real_of(const GgufHeader& header, const std::string& key, double otherwise) {
  const auto* value = header.get<float>(key);
  return value == nullptr ? otherwise : static_cast<double>(*value);
}

Json rope_of(const GgufHeader& header) {
  check(header.find_tensor(kRopeFreqs) == nullptr, ExitCode::kInput,
        "the GGUF file scales its rotary embedding by the tensor {} (which does not tell the scaling's numbers); put the model's "
        "config.json "
        "beside the file",
        kRopeFreqs);
  Json rope;
  rope["rope_theta"] = real_of(header, "llama.rope.freq_base", 10000);
  const auto* type = header.get<std::string>("llama.rope.scaling.type");
  const std::string name = type == nullptr || *type == "none" ? "default" : *type;
  check(name == "default" || name == "linear" || name == "yarn", ExitCode::kInput, "rotary scaling {} is not read here", name);
  rope["rope_type"] = name;
  if (name != "default") rope["factor"] = real_of(header, "llama.rope.scaling.factor", 1);
  if (name == "yarn") {
    rope["original_max_position_embeddings"] = count_of(header, "llama.rope.scaling.original_context_length");
    rope["beta_fast"] = real_of(header, "llama.rope.scaling.yarn_beta_fast", 32);
    rope["beta_slow"] = real_of(header, "llama.rope.scaling.yarn_beta_slow", 1);
    check(header.find("llama.rope.scaling.attn_factor") == nullptr, ExitCode::kInput,
          "the GGUF file sets yarn's attention factor; put the model's config.json beside the file");
  }
  return rope;
}

}  // namespace

GgufSource::GgufSource(const std::string& path) : file_(File::open_read(path)), header_(parse_gguf(file_)) {
  const auto* architecture = header_.get<std::string>("general.architecture");
  check(architecture != nullptr && *architecture == "llama", ExitCode::kInput,
        "{} is not of architecture llama, the only one read here", path);
  for (const GgufTensor& tensor : header_.tensors)
    if (tensor.name != kRopeFreqs) add_tensor(tensor);
  sort_entries();
}

void GgufSource::add_tensor(const GgufTensor& tensor) {
  const auto name = hf_name(tensor.name);
  check(name.has_value() && !tensor.dims.empty() && tensor.dims.size() <= 2, ExitCode::kInput,
        "tensor {} of {} has no counterpart in a Llama model", tensor.name, file_.path());
  check(is_float_type(tensor.type) || ggml_codec(tensor.type), ExitCode::kInput,
        "tensor {} of {} has type {} (read here: F32, F16, BF16, Q8_0, Q4_0, Q4_1)", tensor.name, file_.path(),
        info(tensor.type).name);
  check(is_float_type(tensor.type) || tensor.dims.size() == 2, ExitCode::kInput,
        "tensor {} of {} is a vector of type {} (only matrices are stored in blocks) fetch it again", tensor.name, file_.path(),
        info(tensor.type).name);
  const bool permuted = tensor.name.find(".attn_q.") != std::string::npos || tensor.name.find(".attn_k.") != std::string::npos;
  const std::int64_t rows = tensor.dims.back();
  const std::int64_t head_dim = permuted ? head_dim_of(header_) : 1;
  check(rows % head_dim == 0, ExitCode::kInput, "the {} rows of {} are not whole heads of {}", rows, tensor.name, head_dim);
  add_decoded(*name, {tensor.dims.rbegin(), tensor.dims.rend()},
              [this, &tensor, permuted, head_dim](std::int64_t begin, std::int64_t end, std::span<float> out) {
                if (!permuted) return static_cast<void>(std::ranges::copy(stored_rows(file_, tensor, begin, end), out.begin()));
                const std::int64_t cols = tensor.dims.size() < 2 ? 1 : tensor.dims[0];
                for (std::int64_t first = begin - begin % head_dim; first < end; first += head_dim) {
                  const std::vector<float> head = stored_rows(file_, tensor, first, first + head_dim);
                  for (std::int64_t stored = first; stored < first + head_dim; ++stored) {
                    const std::int64_t row = unpermuted_row(stored, head_dim);
                    if (row >= begin && row < end)
                      std::copy_n(head.begin() + (stored - first) * cols, cols, out.begin() + (row - begin) * cols);
                  }
                }
              });
}

std::vector<std::string> GgufSource::in_blocks() const {
  std::vector<std::string> out;
  for (const GgufTensor& tensor : header_.tensors)
    if (!is_float_type(tensor.type)) out.push_back(hf_name(tensor.name).value());
  return out;
}

Json config_from_gguf(const GgufHeader& header) {
  Json config;
  config["architectures"] = Json::array({"LlamaForCausalLM"});
  config["model_type"] = "llama";
  config["dtype"] = "float32";
  config["hidden_act"] = "silu";
  config["hidden_size"] = count_of(header, "llama.embedding_length");
  config["intermediate_size"] = count_of(header, "llama.feed_forward_length");
  config["num_hidden_layers"] = count_of(header, "llama.block_count");
  config["num_attention_heads"] = count_of(header, "llama.attention.head_count");
  config["num_key_value_heads"] =
      find_count(header, "llama.attention.head_count_kv").value_or(count_of(header, "llama.attention.head_count"));
  config["head_dim"] = head_dim_of(header);
  config["max_position_embeddings"] = count_of(header, "llama.context_length");
  config["rms_norm_eps"] = real_of(header, "llama.attention.layer_norm_rms_epsilon", 1e-5);
  config["rope_parameters"] = rope_of(header);
  const GgufTensor* embedding = header.find_tensor("token_embd.weight");
  check(embedding != nullptr, ExitCode::kInput, "the GGUF file has no token_embd.weight");
  config["vocab_size"] = embedding->dims.back();
  config["tie_word_embeddings"] = header.find_tensor("output.weight") == nullptr;
  config["attention_bias"] = header.find_tensor("blk.0.attn_q.bias") != nullptr;
  config["mlp_bias"] = header.find_tensor("blk.0.ffn_up.bias") != nullptr;
  if (const auto id = find_count(header, "tokenizer.ggml.bos_token_id"); id) config["bos_token_id"] = *id;
  if (const auto id = find_count(header, "tokenizer.ggml.eos_token_id"); id) config["eos_token_id"] = *id;
  return config;
}

}  // namespace mpiquant
