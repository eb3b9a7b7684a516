#include "src/run/inspect.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <set>

#include "io/gguf.h"
#include "io/hf_cache.h"
#include "io/quantized_source.h"
#include "io/safetensors.h"
#include "io/safetensors_source.h"
#include "src/base/error.h"
#include "src/text/tokenizer.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownElements = 4;  // of a metadata array

// Keys of config.json that say how large a model is.
constexpr std::array kSizes = {"model_type",
                               "num_hidden_layers",
                               "hidden_size",
                               "intermediate_size",
                               "num_attention_heads",
                               "num_key_value_heads",
                               "head_dim",
                               "vocab_size",
                               "num_local_experts",
                               "n_routed_experts",
                               "num_experts",
                               "max_position_embeddings",
                               "tie_word_embeddings",
                               "dtype",
                               "torch_dtype"};

Json read_object(const fs::path& path) {
  Json json = parse_json(read_text_file(path.string()), path.string());
  check(json.is_object(), ExitCode::kInput, "{} is not a JSON object (it describes a model) fetch it again", path.string());
  return json;
}

Json read_object_if_there(const fs::path& path) {
  return path_kind(path.string()) == PathKind::kFile ? read_object(path) : Json();
}

// Multimodal models keep the sizes of the language model in text_config.
Json model_facts(const Json& config) {
  Json facts = Json::object();
  if (!config.is_object()) return facts;
  if (config.contains("architectures") && config["architectures"].is_array() && !config["architectures"].empty())
    facts["architecture"] = config["architectures"].front();
  const bool nested = config.contains("text_config") && config["text_config"].is_object();
  for (const char* key : kSizes) {
    if (config.contains(key) && config[key].is_primitive()) facts[key] = config[key];
    if (nested && !facts.contains(key) && config["text_config"].contains(key) && config["text_config"][key].is_primitive())
      facts[key] = config["text_config"][key];
  }
  return facts;
}

Json tokenizer_facts(const fs::path& directory) {
  constexpr std::array kKinds = {"byte-level BPE", "SentencePiece BPE", "SentencePiece unigram"};
  try {
    const auto tokenizer = Tokenizer::load(directory);
    const Vocabulary& vocabulary = tokenizer->vocabulary();
    const auto id = [](const std::optional<std::int32_t>& token) { return token ? Json(*token) : Json(); };
    return {{"kind", kKinds.at(static_cast<std::size_t>(vocabulary.kind))},
            {"tokens", tokenizer->vocab_size()},
            {"merges", vocabulary.merges.size()},
            {"bos", id(vocabulary.bos)},
            {"eos", id(vocabulary.eos)},
            {"unk", id(vocabulary.unk)},
            {"pad", id(vocabulary.pad)},
            {"begins_with_bos", vocabulary.add_bos}};
  } catch (const Error& error) {
    return {{"problem", error.what()}};
  }
}

template <typename T>
Json value_json(const T& value) {
  return value;
}
template <typename T>
Json value_json(const std::vector<T>& values) {
  if (values.size() <= kShownElements) return values;
  return {{"elements", values.size()},
          {"first", std::vector<T>(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(kShownElements))}};
}

Json gguf_metadata(const GgufHeader& header) {
  Json metadata = Json::object();
  for (const GgufKeyValue& row : header.values)
    metadata[row.key] = std::visit([](const auto& value) { return value_json(value); }, row.value);
  return metadata;
}

void inspect_gguf(const fs::path& path, Inspection& found) {
  const File file = File::open_read(path.string());
  const GgufHeader header = parse_gguf(file);
  found.form = "gguf";
  found.files.push_back({path.filename().string(), file.size()});
  found.metadata = gguf_metadata(header);
  for (const GgufTensor& tensor : header.tensors) {
    const Shape shape(tensor.dims.rbegin(), tensor.dims.rend());
    const GgmlTypeInfo& type = info(tensor.type);
    const std::int64_t elements = element_count(shape);
    found.tensors.push_back({tensor.name, std::string(type.name), shape, elements, tensor.bytes});
    found.weights += elements;
    if (type.block > 1) found.quantized.push_back({tensor.name, elements, tensor.bytes, {tensor.name}});
  }
  std::ranges::sort(found.tensors, {}, &TensorFact::name);
  const auto* architecture = header.get<std::string>("general.architecture");
  const std::string prefix = architecture == nullptr ? "" : *architecture + ".";
  const auto copy = [&](const char* as, const std::string& key) {
    if (found.metadata.contains(key) && found.metadata[key].is_primitive()) found.model[as] = found.metadata[key];
  };
  copy("architecture", "general.architecture");
  copy("num_hidden_layers", prefix + "block_count");
  copy("hidden_size", prefix + "embedding_length");
  copy("intermediate_size", prefix + "feed_forward_length");
  copy("num_attention_heads", prefix + "attention.head_count");
  copy("num_key_value_heads", prefix + "attention.head_count_kv");
  copy("num_experts", prefix + "expert_count");
  copy("max_position_embeddings", prefix + "context_length");
  const auto* tokens = header.get<std::vector<std::string>>("tokenizer.ggml.tokens");
  if (tokens != nullptr) found.tokenizer["tokens"] = tokens->size();
  for (const auto& [as, key] : {std::pair("kind", "model"), std::pair("pre", "pre"), std::pair("bos", "bos_token_id"),
                                std::pair("eos", "eos_token_id"), std::pair("begins_with_bos", "add_bos_token")}) {
    const std::string whole = std::string("tokenizer.ggml.") + key;
    if (found.metadata.contains(whole) && found.metadata[whole].is_primitive()) found.tokenizer[as] = found.metadata[whole];
  }
}

// A safetensors file on its own, as a source.
class OneFile final : public TensorSource {
 public:
  explicit OneFile(const std::string& path) : file_(File::open_read(path)) {
    for (const SafetensorsEntry& entry : parse_safetensors_header(file_).entries) {
      entries_.push_back({entry.name, entry.dtype, dtype_from_safetensors(entry.dtype), entry.shape, entry.bytes});
      offsets_[entry.name] = entry.offset;
    }
    std::ranges::sort(entries_, {}, &TensorEntry::name);
  }
  std::span<const TensorEntry> entries() const override { return entries_; }

 protected:
  void read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const override {
    file_.read_at(offsets_.at(entry.name) + byte_offset, out);
  }

 private:
  File file_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::int64_t> offsets_;
};

void take_tensors(const TensorSource& source, Inspection& found) {
  found.quantized = quantized_tensors(source, found.quantization);
  std::set<std::string_view> packed;
  for (const QuantizedFact& fact : found.quantized) {
    found.weights += fact.weights;
    packed.insert(fact.pieces.begin(), fact.pieces.end());
  }
  for (const TensorEntry& entry : source.entries()) {
    const std::int64_t elements = element_count(entry.shape);
    found.tensors.push_back({entry.name, entry.dtype_name, entry.shape, elements, entry.bytes});
    if (!packed.contains(entry.name)) found.weights += elements;
  }
}

void add_safetensors_file(const fs::path& path, Inspection& found) {
  const File file = File::open_read(path.string());
  const std::string name = path.filename().string();
  found.files.push_back({name, file.size()});
  const SafetensorsHeader header = parse_safetensors_header(file);
  if (!header.metadata.empty()) found.metadata[name] = header.metadata;
}

void take_config(const fs::path& directory, Inspection& found) {
  const Json config = read_object_if_there(directory / "config.json");
  found.form = "safetensors";
  if (config.is_object() && config.contains("quantization_config") && config["quantization_config"].is_object()) {
    found.quantization = config["quantization_config"];
    const auto method = found.quantization.find("quant_method");
    if (method != found.quantization.end() && method->is_string()) found.form = method->get<std::string>();
  }
  found.model = model_facts(config);
}

void inspect_repository(const fs::path& directory, Inspection& found) {
  const SafetensorsSource source(directory.string());
  take_config(directory, found);
  for (const std::string& path : source.files()) add_safetensors_file(path, found);
  take_tensors(source, found);
  found.tokenizer = tokenizer_facts(directory);
}

}  // namespace

double Inspection::bits_per_weight() const {
  return weights == 0 ? 0 : 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
}

double Inspection::quantized_bits_per_weight() const {
  double of_weights = 0;
  double of_bytes = 0;
  for (const QuantizedFact& fact : quantized) {
    of_weights += static_cast<double>(fact.weights);
    of_bytes += static_cast<double>(fact.bytes);
  }
  return of_weights == 0 ? 0 : 8 * of_bytes / of_weights;
}

Inspection inspect(const std::string& path) {
  Inspection found;
  found.path = path;
  found.model = found.metadata = found.tokenizer = Json::object();
  fs::path directory;
  if (path_kind(path) == PathKind::kFile) {
    directory = fs::absolute(path).parent_path();
    if (fs::path(path).extension() == ".safetensors") {
      take_config(directory, found);
      add_safetensors_file(path, found);
      take_tensors(OneFile(path), found);
    } else {
      inspect_gguf(path, found);
    }
  } else {
    directory = resolve_model(path).directory;
    if (const auto gguf = only_gguf_file(directory))
      inspect_gguf(*gguf, found);
    else
      inspect_repository(directory, found);
  }
  found.about = read_object_if_there(directory / "mpiquant.json");
  for (const TensorFact& tensor : found.tensors) found.bytes += tensor.bytes;
  return found;
}

}  // namespace mpiquant
