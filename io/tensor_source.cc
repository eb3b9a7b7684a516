#include "io/tensor_source.h"

#include <algorithm>
#include <bit>

#include "io/file.h"
#include "src/base/error.h"

namespace mpiquant {
const TensorEntry* TensorSource::find(std::string_view name) const {
  const std::span<const TensorEntry> all = entries();
  const auto found = std::ranges::lower_bound(all, name, {}, [](const TensorEntry& e) { return std::string_view(e.name); });
  return found != all.end() && found->name == name ? &*found : nullptr;
}

const TensorEntry& TensorSource::at(std::string_view name) const {
  const TensorEntry* entry = find(name);
  check(entry != nullptr, ExitCode::kInput, "the model has no tensor \"{}\" (its config asks for it) fetch the model again",
        name);
  return *entry;
}

void TensorSource::read_counted(const TensorEntry& entry, std::int64_t byte_offset, std::span<std::byte> out) const {
  read_entry(entry, byte_offset, out);
  bytes_read_ += static_cast<std::int64_t>(out.size());
}

void TensorSource::read_raw(std::string_view name, std::int64_t byte_offset, std::span<std::byte> out) const {
  const TensorEntry& entry = at(name);
  const auto size = static_cast<std::int64_t>(out.size());
  expect(byte_offset >= 0 && byte_offset <= entry.bytes && size <= entry.bytes - byte_offset,
         "bytes {} + {} are not inside tensor {} of {} bytes", byte_offset, size, name, entry.bytes);
  read_counted(entry, byte_offset, out);
}

std::int64_t TensorSource::row_block(std::string_view /*name*/) const { return 1; }

void TensorSource::read_rows(std::string_view name, std::int64_t row_begin, std::int64_t row_end, std::span<float> out) const {
  const TensorEntry& entry = at(name);
  check(entry.dtype.has_value() && is_float(*entry.dtype), ExitCode::kInput,
        "tensor \"{}\" is {} (weights are read as F32, F16, BF16 or F64) convert the model", name, entry.dtype_name);
  const std::int64_t rows = entry.rows();
  expect(0 <= row_begin && row_begin <= row_end && row_end <= rows, "rows {} to {} of tensor {} with {}", row_begin, row_end,
         name, rows);
  const auto width = static_cast<std::int64_t>(size_of(*entry.dtype));
  const std::int64_t row_bytes = rows == 0 ? 0 : entry.bytes / rows;
  const std::int64_t begin = row_begin * row_bytes;
  const std::int64_t bytes = (row_end - row_begin) * row_bytes;
  expect(static_cast<std::int64_t>(out.size()) * width == bytes, "{} values for rows {} to {} of tensor {}", out.size(),
         row_begin, row_end, name);
  if (*entry.dtype == DType::kF32) {
    read_counted(entry, begin, std::as_writable_bytes(out));
    return;
  }
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(bytes, kReadBytes)));
  for (std::int64_t at = 0; at < bytes; at += kReadBytes) {
    const std::span<std::byte> piece(buffer.data(), static_cast<std::size_t>(std::min(kReadBytes, bytes - at)));
    read_counted(entry, begin + at, piece);
    to_f32(*entry.dtype, piece,
           out.subspan(static_cast<std::size_t>(at / width), piece.size() / static_cast<std::size_t>(width)));
  }
}

std::optional<std::size_t> first_non_finite(std::span<const float> values) {
  constexpr std::uint32_t kExponent = 0x7f800000U;
  for (std::size_t i = 0; i < values.size(); ++i)
    if ((std::bit_cast<std::uint32_t>(values[i]) & kExponent) == kExponent) return i;
  return std::nullopt;
}

}  // namespace mpiquant
