#include "io/repository.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "io/file.h"
#include "io/model_card.h"
#include "io/shards.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

namespace fs = std::filesystem;

constexpr std::array kCarried = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "NOTICE.txt",
    "USE_POLICY.md",
};

// Code files that auto_map entries ("modeling_x.Class") of a JSON file name.
std::set<std::string> mapped_code(const fs::path& json) {
  std::set<std::string> files;
  if (!fs::is_regular_file(json)) return files;
  const Json config = parse_json(read_text_file(json), json.string());
  if (!config.is_object() || !config.contains("auto_map") || !config["auto_map"].is_object()) return files;
  const auto add = [&](const Json& value) {
    if (!value.is_string()) return;
    const std::string name = value.get<std::string>();
    const std::string stem = name.substr(0, name.find('.'));
    if (!stem.empty() && name.find('/') == std::string::npos && name.find("--") == std::string::npos) files.insert(stem + ".py");
  };
  for (const auto& [key, value] : config["auto_map"].items()) {
    add(value);
    if (value.is_array()) std::ranges::for_each(value, add);
  }
  return files;
}

// Files above 10 MB must be named, as Git hosts take such files only through LFS.
TextFile git_attributes(const std::vector<TextFile>& files) {
  constexpr std::size_t kLfsBytes = 10'000'000;
  std::string text;
  const auto add = [&](const std::string& pattern) { text += pattern + " filter=lfs diff=lfs merge=lfs -text\n"; };
  for (const char* pattern :
       {"*.safetensors", "*.gguf", "*.bin", "*.model", "*.pt", "*.pth", "*.h5", "*.npz", "*.parquet", "*.zip"})
    add(pattern);
  for (const TextFile& file : files)
    if (file.content.size() > kLfsBytes) add(file.path);
  return {".gitattributes", text};
}

}  // namespace

Json config_without_quantization(Json config) {
  config.erase("quantization_config");
  config.erase("compression_config");
  if (config.contains("text_config") && config["text_config"].is_object()) {
    config["text_config"].erase("quantization_config");
    config["text_config"].erase("compression_config");
  }
  return config;
}

Json output_config(const OutputSpec& output, const RunFacts& facts, const RepositoryEdits& edits) {
  const std::string path = facts.model_dir + "/config.json";
  Json config = parse_json(read_text_file(path), path);
  check(config.is_object(), ExitCode::kInput, "{} is not a JSON object", path);
  config = config_without_quantization(std::move(config));
  const auto tied = config.find("tie_word_embeddings");
  if (output.untied || (!facts.model->tied && tied != config.end() && *tied == true)) config["tie_word_embeddings"] = false;
  if (edits.dtype) {
    const bool old = config.contains("torch_dtype") && !config.contains("dtype");
    config[old ? "torch_dtype" : "dtype"] = info(*edits.dtype).torch_name;
  }
  if (!edits.quantization.is_null()) config["quantization_config"] = edits.quantization;
  return config;
}

std::vector<TextFile> carried_files(const std::string& model_dir) {
  const fs::path source(model_dir);
  std::set<std::string> names(kCarried.begin(), kCarried.end());
  names.merge(mapped_code(source / "config.json"));
  names.merge(mapped_code(source / "tokenizer_config.json"));
  const fs::path templates = source / "additional_chat_templates";
  if (fs::is_directory(templates))
    for (const auto& entry : fs::directory_iterator(templates))
      if (entry.path().extension() == ".jinja") names.insert("additional_chat_templates/" + entry.path().filename().string());
  std::vector<TextFile> files;
  for (const std::string& name : names)
    if (fs::is_regular_file(source / name)) files.push_back({name, read_text_file(source / name)});
  return files;
}

std::vector<TextFile> repository_files(const OutputSpec& output, const RunFacts& facts, const std::vector<FilePlan>& files,
                                       const RepositoryEdits& edits) {
  std::vector<TextFile> result = carried_files(facts.model_dir);
  result.push_back({"config.json", output_config(output, facts, edits).dump(2) + "\n"});
  if (const auto index = shard_index(files); index) result.push_back(*index);
  result.insert(result.end(), edits.extra.begin(), edits.extra.end());
  result.push_back(model_card(output, facts));
  result.push_back(git_attributes(result));
  return result;
}

}  // namespace mpiquant
