#include "io/safetensors_source.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "io/safetensors.h"
#include "src/base/error.h"
#include "src/base/json.h"

namespace mpiquant {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// Shard file → names of the tensors that are taken from it.
using ShardMap = std::map<std::string, std::vector<std::string>>;

ShardMap read_index(const std::string& path) {
  const nlohmann::json index = parse_json_by_key(read_text_file(path), path);
  check(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(), ExitCode::kInput,
        "{} has no \"weight_map\" object (it says where the tensors are) fetch it again", path);
  ShardMap shards;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    check(file.is_string(), ExitCode::kInput, "{}: the shard of {} is not a string (the file is damaged)", path,
          nlohmann::json(tensor).dump());
    const auto shard = file.get<std::string>();
    const bool plain =
        !shard.empty() && shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos && shard[0] != '.';
    check(plain, ExitCode::kInput, "{} files {} in {} (a shard is a plain file name beside the index)", path,
          nlohmann::json(tensor).dump(), file.dump());
    shards[shard].push_back(tensor);
  }
  return shards;
}

}  // namespace

SafetensorsSource::SafetensorsSource(const std::string& directory) {
  const std::filesystem::path folder(directory);
  const bool single = path_kind((folder / kSingleFile).string()) != PathKind::kNothing;
  ShardMap shards;
  if (single) {
    shards[kSingleFile];
  } else {
    const std::string index = (folder / kIndexFile).string();
    check(path_kind(index) == PathKind::kFile, ExitCode::kInput,
          "{} has neither {} nor {} (weights are read from safetensors) fetch or convert the model", directory, kSingleFile,
          kIndexFile);
    shards = read_index(index);
  }

  std::map<std::string, std::pair<TensorEntry, Place>> found;
  for (const auto& [shard, promised] : shards) {
    const std::string path = (folder / shard).string();
    check(path_kind(path) == PathKind::kFile, ExitCode::kInput, "{} is missing ({} names it) fetch the model again", path,
          kIndexFile);
    files_.push_back(File::open_read(path));
    std::map<std::string, SafetensorsEntry> in_file;
    for (SafetensorsEntry& entry : parse_safetensors_header(files_.back()).entries) in_file.emplace(entry.name, std::move(entry));
    const auto take = [&](const SafetensorsEntry& e) {
      found.emplace(e.name, std::pair(TensorEntry{e.name, e.dtype, dtype_from_safetensors(e.dtype), e.shape, e.bytes},
                                      Place{files_.size() - 1, e.offset}));
    };
    if (single)
      for (const auto& [name, entry] : in_file) take(entry);
    for (const std::string& name : promised) {
      const auto entry = in_file.find(name);
      check(entry != in_file.end(), ExitCode::kInput, "{} has no tensor {} ({} files it there) fetch the model again", path,
            nlohmann::json(name).dump(), kIndexFile);
      take(entry->second);
    }
  }
  for (auto& [name, entry] : found) {
    entries_.push_back(std::move(entry.first));
    places_.push_back(entry.second);
  }
}

std::vector<std::string> SafetensorsSource::files() const {
  std::vector<std::string> paths;
  for (const File& file : files_) paths.push_back(file.path());
  return paths;
}

void SafetensorsSource::read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const {
  const Place& place = places_[static_cast<std::size_t>(&entry - entries_.data())];
  files_[place.file].read_at(place.offset + byte_offset, out);
}

}  // namespace mpiquant
