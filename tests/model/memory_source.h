#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/tensor_source.h"
#include "src/model/config.h"

namespace mpiquant {

// Tensors in memory, in fp32, that a test makes or changes.
class MemorySource final : public TensorSource {
 public:
  MemorySource() = default;
  explicit MemorySource(const TensorSource& original) {
    for (const TensorEntry& entry : original.entries()) {
      std::vector<float> values(static_cast<std::size_t>(element_count(entry.shape)));
      original.read_rows(entry.name, 0, entry.rows(), values);
      add(entry.name, entry.shape, std::move(values));
    }
  }

  void add(const std::string& name, const Shape& shape, std::vector<float> values) {
    const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(float));
    values_[name] = std::move(values);
    TensorEntry entry{name, "F32", DType::kF32, shape, bytes};
    entries_.insert(std::ranges::lower_bound(entries_, name, {}, &TensorEntry::name), std::move(entry));
  }
  void remove(const std::string& name) {
    std::erase_if(entries_, [&](const TensorEntry& entry) { return entry.name == name; });
  }
  std::vector<float>& values(const std::string& name) { return values_.at(name); }
  TensorEntry& entry(const std::string& name) { return *std::ranges::find(entries_, name, &TensorEntry::name); }

  std::span<const TensorEntry> entries() const override { return entries_; }

 protected:
  void read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const override {
    std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values_.at(entry.name).data()) + byte_offset, out.size());
  }

 private:
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::vector<float>> values_;
};

}  // namespace mpiquant
