#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "io/tensor_source.h"

namespace mpiquant {

// A source of which some tensors are computed in fp32 as they are read: quantized ones as their readers decode them, rotated
// ones.
class DecodedSource : public TensorSource {
 public:
  std::span<const TensorEntry> entries() const override { return entries_; }

 protected:
  // Fills out with rows [row_begin, row_end). Any thread.
  using DecodeRows = std::function<void(std::int64_t row_begin, std::int64_t row_end, std::span<float> out)>;
  // Fills out from byte_offset of the stored tensor. Any thread.
  using ReadBytes = std::function<void(std::int64_t byte_offset, std::span<std::byte> out)>;

  // Called while a derived source is built, then sort_entries() once. Names are unique, else an input error.
  void add_decoded(const std::string& name, Shape shape, DecodeRows decode);
  void add_stored(const TensorEntry& entry, ReadBytes read);
  void sort_entries();

  void read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const override;

 private:
  struct Reader {
    DecodeRows decode;  // or
    ReadBytes read;
  };

  std::vector<TensorEntry> entries_;
  std::vector<Reader> readers_;  // one for each entry
};

}  // namespace mpiquant
