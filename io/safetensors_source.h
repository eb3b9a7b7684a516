#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"
#include "io/tensor_source.h"

namespace mpiquant {

// The weights of a directory in Hugging Face layout: model.safetensors, or the shards that model.safetensors.index.json names.
class SafetensorsSource final : public TensorSource {
 public:
  // Opens all shards and checks all headers. Missing or damaged files, tensors that the index promises and a shard lacks, and
  // shard names that leave the directory are input errors.
  explicit SafetensorsSource(const std::string& directory);

  std::span<const TensorEntry> entries() const override { return entries_; }
  // Paths of the files that hold the tensors.
  std::vector<std::string> files() const;

 protected:
  void read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const override;

 private:
  struct Place {
    std::size_t file;     // index into files_
    std::int64_t offset;  // of the tensor's first byte in that file
  };

  std::vector<File> files_;
  std::vector<TensorEntry> entries_;  // sorted by name
  std::vector<Place> places_;         // one for each entry
};

}  // namespace mpiquant
