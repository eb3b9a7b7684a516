#include "io/shards.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "io/safetensors.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

// "model.layers.0.mlp.down_proj.qweight" → "model.layers.0.mlp.down_proj"
std::string module_of(const std::string& tensor) { return tensor.substr(0, tensor.rfind('.')); }

// Position of every module in the order in which data passes through the model.
std::unordered_map<std::string, std::size_t> model_order(const ModelSpec& model) {
  std::unordered_map<std::string, std::size_t> order;
  const auto add = [&](const std::string& module) { order.emplace(module, order.size()); };
  add(module_of(model.embedding));
  for (const LayerSpec& layer : model.layers) {
    add(module_of(layer.input_norm));
    add(module_of(layer.post_attention_norm));
    for (const BlockSpec& block : layer.blocks)
      for (const LinearSpec& linear : block.linears) add(linear.module);
  }
  add(module_of(model.final_norm));
  add(model.head.module);
  return order;
}

struct Module {
  std::vector<StoredTensor> tensors;
  std::int64_t bytes = 0;
};

std::int64_t bytes_of(const StoredTensor& tensor) {
  return element_count(tensor.shape) * static_cast<std::int64_t>(size_of(tensor.dtype));
}

std::vector<Module> in_model_order(std::vector<StoredTensor> tensors, const ModelSpec& model) {
  const auto order = model_order(model);
  const std::size_t last = order.size();
  std::map<std::pair<std::size_t, std::string>, Module> modules;  // unknown modules follow, by name
  for (StoredTensor& tensor : tensors) {
    const std::string name = module_of(tensor.name);
    const auto found = order.find(name);
    Module& module = modules[{found == order.end() ? last : found->second, name}];
    module.bytes += bytes_of(tensor);
    module.tensors.push_back(std::move(tensor));
  }
  std::vector<Module> result;
  for (auto& [key, module] : modules) {
    // The widest first, so that all are aligned.
    std::ranges::stable_sort(module.tensors, std::ranges::greater{}, [](const StoredTensor& t) { return size_of(t.dtype); });
    result.push_back(std::move(module));
  }
  return result;
}

FilePlan lay_out(std::string path, const std::vector<StoredTensor>& tensors) {
  std::vector<SafetensorsTensor> plain;
  std::unordered_map<std::string, const StoredTensor*> by_name;
  for (const StoredTensor& tensor : tensors) {
    plain.push_back({tensor.name, std::string(info(tensor.dtype).safetensors_name), tensor.shape});
    by_name.emplace(tensor.name, &tensor);
  }
  SafetensorsLayout layout = build_safetensors_header(plain, {{"format", "pt"}}, TensorOrder::kGiven);
  FilePlan file{.path = std::move(path), .header = std::move(layout.header), .bytes = layout.file_bytes, .tensors = {}};
  for (const SafetensorsEntry& entry : layout.entries) {
    const StoredTensor& tensor = *by_name.at(entry.name);
    file.tensors.push_back({entry.name, tensor.source, tensor.piece, entry.offset, entry.bytes});
  }
  return file;
}

}  // namespace

std::vector<StoredTensor> dense_tensors(const OutputSpec& output) {
  std::vector<StoredTensor> tensors;
  for (const DenseChoice& choice : output.dense) tensors.push_back({choice.name, choice.dtype, choice.shape, choice.source, ""});
  return tensors;
}

std::vector<FilePlan> plan_shards(std::vector<StoredTensor> tensors, const ModelSpec& model, std::int64_t max_shard_bytes) {
  check(max_shard_bytes > 0, ExitCode::kUsage, "the largest size of a shard is {} bytes; give a positive size", max_shard_bytes);
  std::vector<std::vector<StoredTensor>> shards(1);
  std::int64_t filled = 0;
  for (Module& module : in_model_order(std::move(tensors), model)) {
    if (filled > 0 && filled > max_shard_bytes - module.bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += module.bytes;
    std::ranges::move(module.tensors, std::back_inserter(shards.back()));
  }
  std::vector<FilePlan> files;
  for (std::size_t i = 0; i < shards.size(); ++i)
    files.push_back(
        lay_out(shards.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size()),
                shards[i]));
  return files;
}

std::optional<TextFile> shard_index(const std::vector<FilePlan>& files) {
  if (files.size() <= 1) return std::nullopt;
  std::map<std::string, std::string> places;
  std::int64_t total = 0;
  for (const FilePlan& file : files)
    for (const TensorPlan& tensor : file.tensors) {
      expect(places.emplace(tensor.name, file.path).second, "{} is stored twice", tensor.name);
      total += tensor.bytes;
    }
  Json index;
  index["metadata"]["total_size"] = total;
  index["weight_map"] = Json::object();
  for (const auto& [name, path] : places) index["weight_map"][name] = path;
  return TextFile{"model.safetensors.index.json", index.dump(2) + "\n"};
}

}  // namespace mpiquant
