#include "io/quantized_source.h"

#include <fmt/ranges.h>

#include <filesystem>
#include <optional>

#include "io/compressed_tensors_source.h"
#include "io/file.h"
#include "io/gguf_source.h"
#include "io/gptq_source.h"
#include "io/repository.h"
#include "io/safetensors_source.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

Json read_config(const fs::path& path) {
  Json config = parse_json(read_text_file(path), path.string());
  check(config.is_object(), ExitCode::kInput, "{} is not a JSON object", path.string());
  return config;
}

PlainModel open_gguf(const fs::path& path) {
  auto source = std::make_unique<GgufSource>(path);
  const fs::path beside = path.parent_path() / "config.json";
  PlainModel model;
  model.config =
      fs::is_regular_file(beside) ? config_without_quantization(read_config(beside)) : config_from_gguf(source->header());
  model.config["tie_word_embeddings"] = source->find("lm_head.weight") == nullptr;
  model.in_blocks = source->in_blocks();
  model.source = std::move(source);
  return model;
}

}  // namespace

std::optional<fs::path> only_gguf_file(const fs::path& directory) {
  std::vector<std::string> ggufs, outputs;
  for (const std::string& name : list_directory(directory.string())) {
    const fs::path path = directory / name;
    if (path.extension() == ".safetensors" || name.ends_with(".safetensors.index.json")) return std::nullopt;
    if (path.extension() == ".gguf") ggufs.push_back(name);
    if (path_kind((path / "mpiquant.json").string()) == PathKind::kFile) outputs.push_back(name);
  }
  check(ggufs.size() <= 1, ExitCode::kInput, "{} holds {} GGUF files: {} (one is read at a time) name one of them",
        directory.string(), ggufs.size(), fmt::join(ggufs, ", "));
  check(outputs.empty() || !ggufs.empty(), ExitCode::kInput, "{} holds {} outputs: {} (one is read at a time) name one of them",
        directory.string(), outputs.size(), fmt::join(outputs, ", "));
  return ggufs.empty() ? std::nullopt : std::optional(directory / ggufs.front());
}

PlainModel open_plain_model(const std::string& path) {
  if (fs::is_regular_file(path)) return open_gguf(path);
  check(fs::is_directory(path), ExitCode::kInput, "{} is neither a directory nor a GGUF file", path);
  if (const auto file = only_gguf_file(path); file) return open_gguf(*file);
  const Json config = read_config(fs::path(path) / "config.json");
  PlainModel model{std::make_unique<SafetensorsSource>(path), {}, config_without_quantization(config)};
  if (!config.contains("quantization_config") || config["quantization_config"].is_null()) return model;
  const Json& quantization = config["quantization_config"];
  check(quantization.is_object(), ExitCode::kInput, "quantization_config of {} is not an object", path);
  try {
    const std::string method = quantization.value("quant_method", std::string());
    if (method == "gptq")
      model.source = std::make_unique<GptqSource>(std::move(model.source), quantization);
    else if (method == "compressed-tensors")
      model.source = std::make_unique<CompressedTensorsSource>(std::move(model.source), quantization);
    else
      fail(ExitCode::kInput, "{} is quantized with \"{}\" (read here: gptq, compressed-tensors, GGUF)", path, method);
  } catch (const Json::exception& error) {
    fail(ExitCode::kInput, "quantization_config of {} holds a value of an unexpected type: {}", path, error.what());
  }
  return model;
}

}  // namespace mpiquant
