#include "io/decoded_source.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "src/base/error.h"

namespace mpiquant {

void DecodedSource::add_decoded(const std::string& name, Shape shape, DecodeRows decode) {
  const std::int64_t bytes = element_count(shape) * static_cast<std::int64_t>(sizeof(float));
  entries_.push_back({name, std::string(info(DType::kF32).safetensors_name), DType::kF32, std::move(shape), bytes});
  readers_.push_back({std::move(decode), {}});
}

void DecodedSource::add_stored(const TensorEntry& entry, ReadBytes read) {
  entries_.push_back(entry);
  readers_.push_back({{}, std::move(read)});
}

void DecodedSource::sort_entries() {
  std::vector<std::size_t> order(entries_.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::string_view(entries_[i].name); });
  std::vector<TensorEntry> entries;
  std::vector<Reader> readers;
  for (const std::size_t i : order) {
    check(entries.empty() || entries.back().name != entries_[i].name, ExitCode::kInput,
          "{} is stored twice, as it is and quantized (which one is meant?)", entries_[i].name);
    entries.push_back(std::move(entries_[i]));
    readers.push_back(std::move(readers_[i]));
  }
  entries_ = std::move(entries);
  readers_ = std::move(readers);
}

void DecodedSource::read_entry(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const {
  const auto index = static_cast<std::size_t>(&entry - entries_.data());
  expect(index < entries_.size(), "{} is not of this source", entry.name);
  const Reader& reader = readers_[index];
  if (reader.read) return reader.read(byte_offset, out);
  if (out.empty()) return;
  const std::int64_t row_bytes = entry.bytes / entry.rows();
  const std::int64_t begin = byte_offset / row_bytes;
  const std::int64_t end = (byte_offset + static_cast<std::int64_t>(out.size()) + row_bytes - 1) / row_bytes;
  const bool whole_rows = byte_offset % row_bytes == 0 && static_cast<std::int64_t>(out.size()) % row_bytes == 0;
  if (whole_rows && reinterpret_cast<std::uintptr_t>(out.data()) % alignof(float) == 0)
    return reader.decode(begin, end, {reinterpret_cast<float*>(out.data()), out.size() / sizeof(float)});
  std::vector<float> rows(static_cast<std::size_t>((end - begin) * row_bytes) / sizeof(float));
  reader.decode(begin, end, rows);
  std::memcpy(out.data(), reinterpret_cast<const std::byte*>(rows.data()) + (byte_offset - begin * row_bytes), out.size());
}

}  // namespace mpiquant
