#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>

#include "src/base/error.h"
#include "src/base/json.h"

namespace mpiquant {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read and written without swapping");

constexpr std::int64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::string_view kMetadataKey = "__metadata__";

struct DTypeBits {
  std::string_view name;
  int bits;
};

// Rows stand in the reference writer's order of dtypes; it files the last of them first.
constexpr std::array<DTypeBits, 22> kDTypes = {{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

const DTypeBits* find_dtype(std::string_view dtype) {
  const auto* row = std::ranges::find(kDTypes, dtype, &DTypeBits::name);
  return row == kDTypes.end() ? nullptr : row;
}

// A name from a file as JSON, so that control characters never reach a terminal.
std::string as_json(const std::string& name) { return nlohmann::json(name).dump(); }

// Bytes of a tensor; nothing when the bits do not fill whole bytes or overflow.
std::optional<std::int64_t> tensor_bytes(const Shape& shape, int bits) {
  std::int64_t total = bits;
  for (const std::int64_t extent : shape)
    if (extent < 0 || __builtin_mul_overflow(total, extent, &total)) return std::nullopt;
  if (total % 8 != 0) return std::nullopt;
  return total / 8;
}

// True if each tensor, one after the other, begins at a multiple of its element.
bool aligned(std::span<const SafetensorsTensor* const> tensors) {
  std::int64_t end = 0;  // tensors without a size are refused when they are laid out
  for (const SafetensorsTensor* tensor : tensors) {
    const int bits = find_dtype(tensor->dtype)->bits;
    if (end % std::max(1, bits / 8) != 0) return false;
    if (__builtin_add_overflow(end, tensor_bytes(tensor->shape, bits).value_or(0), &end)) return false;
  }
  return true;
}

// A JSON number that is a whole number in [0, 2^63).
std::int64_t whole_number(const nlohmann::json& value, const std::string& what) {
  check(value.is_number_unsigned() && value.get<std::uint64_t>() <= std::uint64_t{std::numeric_limits<std::int64_t>::max()},
        ExitCode::kInput, "{} is not a whole number below 2^63 (the file is damaged)", what);
  return value.get<std::int64_t>();
}

const nlohmann::json& member(const nlohmann::json& object, const char* key, const std::string& what) {
  check(object.is_object() && object.contains(key), ExitCode::kInput, "{} has no \"{}\" (the file is damaged)", what, key);
  return object.at(key);
}

// One tensor of the header; offset is still relative to the data.
SafetensorsEntry parse_entry(const std::string& file, const std::string& name, const nlohmann::json& fields) {
  const std::string what = fmt::format("{}: tensor {}", file, as_json(name));
  SafetensorsEntry entry;
  entry.name = name;
  const nlohmann::json& dtype = member(fields, "dtype", what);
  check(dtype.is_string(), ExitCode::kInput, "{}: the dtype is not a string (the file is damaged)", what);
  entry.dtype = dtype.get<std::string>();
  const std::optional<int> bits = safetensors_dtype_bits(entry.dtype);
  check(bits.has_value(), ExitCode::kInput, "{} has the dtype {} (its size is unknown) convert the model", what, dtype.dump());
  const nlohmann::json& shape = member(fields, "shape", what);
  check(shape.is_array(), ExitCode::kInput, "{}: the shape is not a list (the file is damaged)", what);
  for (const nlohmann::json& extent : shape) entry.shape.push_back(whole_number(extent, what + ": an extent"));
  const nlohmann::json& offsets = member(fields, "data_offsets", what);
  check(offsets.is_array() && offsets.size() == 2, ExitCode::kInput, "{}: data_offsets is not a pair (the file is damaged)",
        what);
  entry.offset = whole_number(offsets[0], what + ": an offset");
  const std::int64_t end = whole_number(offsets[1], what + ": an offset");
  check(end >= entry.offset, ExitCode::kInput, "{} ends at {} before it begins at {} (the file is damaged)", what, end,
        entry.offset);
  entry.bytes = end - entry.offset;
  const std::optional<std::int64_t> needed = tensor_bytes(entry.shape, *bits);
  check(needed.has_value(), ExitCode::kInput, "{}: the shape has no size in whole bytes below 2^63 (the file is damaged)", what);
  check(*needed == entry.bytes, ExitCode::kInput, "{} has {} bytes but its shape and dtype need {} (the file is damaged)", what,
        entry.bytes, *needed);
  return entry;
}

std::map<std::string, std::string> parse_metadata(const std::string& file, const nlohmann::json& fields) {
  check(fields.is_object(), ExitCode::kInput, "{}: {} is not an object (the file is damaged)", file, kMetadataKey);
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : fields.items()) {
    check(value.is_string(), ExitCode::kInput, "{}: metadata {} is not a string (the format allows no other)", file,
          as_json(key));
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

}  // namespace

std::optional<int> safetensors_dtype_bits(std::string_view dtype) {
  const DTypeBits* row = find_dtype(dtype);
  return row == nullptr ? std::nullopt : std::optional(row->bits);
}

SafetensorsHeader parse_safetensors_header(const File& file) {
  const std::string& name = file.path();
  check(file.size() >= kLengthBytes, ExitCode::kInput, "{} has {} bytes (no safetensors file is that short) fetch it again", name,
        file.size());
  std::uint64_t length = 0;
  file.read_at(0, std::as_writable_bytes(std::span(&length, 1)));
  check(length <= kMaxHeaderBytes, ExitCode::kInput, "{} states a header of {} bytes (the format allows {}) fetch it again", name,
        length, kMaxHeaderBytes);
  check(static_cast<std::int64_t>(length) <= file.size() - kLengthBytes, ExitCode::kInput,
        "{} has {} bytes but states a header of {} (it is truncated) fetch it again", name, file.size(), length);
  std::string text(static_cast<std::size_t>(length), '\0');
  file.read_at(kLengthBytes, std::as_writable_bytes(std::span(text)));
  check(text.starts_with('{'), ExitCode::kInput, "{}: the header is not a JSON object (it is no safetensors file)", name);
  const nlohmann::json json = parse_json_by_key(text, name + ": the header");

  SafetensorsHeader header;
  for (const auto& [key, fields] : json.items()) {
    if (key == kMetadataKey)
      header.metadata = parse_metadata(name, fields);
    else
      header.entries.push_back(parse_entry(name, key, fields));
  }
  std::ranges::sort(header.entries, {}, [](const SafetensorsEntry& e) { return std::pair(e.offset, e.bytes); });
  const std::int64_t data = kLengthBytes + static_cast<std::int64_t>(length);
  std::int64_t end = 0;
  for (SafetensorsEntry& entry : header.entries) {
    check(entry.offset == end, ExitCode::kInput, "{}: tensor {} begins at {} of the data, not at {} ({}) fetch it again", name,
          as_json(entry.name), entry.offset, end, entry.offset < end ? "tensors overlap" : "there is a hole");
    end += entry.bytes;
    entry.offset += data;
  }
  check(end == file.size() - data, ExitCode::kInput, "{} has {} bytes of data but its header describes {} ({}) fetch it again",
        name, file.size() - data, end, end > file.size() - data ? "it is truncated" : "there are bytes at the end");
  return header;
}

SafetensorsLayout build_safetensors_header(std::span<const SafetensorsTensor> tensors,
                                           const std::map<std::string, std::string>& metadata, TensorOrder wanted) {
  std::vector<const SafetensorsTensor*> order;
  std::set<std::string_view> names;
  for (const SafetensorsTensor& tensor : tensors) {
    expect(find_dtype(tensor.dtype) != nullptr, "tensor {} has the unknown dtype {}", tensor.name, tensor.dtype);
    expect(tensor.name != kMetadataKey && names.insert(tensor.name).second, "tensor {} is laid out twice", tensor.name);
    order.push_back(&tensor);
  }
  if (wanted == TensorOrder::kReference || !aligned(order)) {
    std::ranges::sort(order, [](const SafetensorsTensor* a, const SafetensorsTensor* b) {
      const DTypeBits* row_a = find_dtype(a->dtype);
      const DTypeBits* row_b = find_dtype(b->dtype);
      return row_a != row_b ? row_a > row_b : a->name < b->name;
    });
  }

  SafetensorsLayout layout;
  std::string text;
  if (!metadata.empty()) text = fmt::format(",\"{}\":{}", kMetadataKey, Json(metadata).dump());
  std::int64_t end = 0;
  for (const SafetensorsTensor* tensor : order) {
    const std::optional<std::int64_t> bytes = tensor_bytes(tensor->shape, find_dtype(tensor->dtype)->bits);
    expect(bytes.has_value(), "tensor {} has no size in whole bytes", tensor->name);
    const std::int64_t begin = end;
    expect(!__builtin_add_overflow(end, *bytes, &end), "tensor {} ends past 2^63", tensor->name);
    const Json fields = {{"dtype", tensor->dtype}, {"shape", tensor->shape}, {"data_offsets", {begin, end}}};
    text += fmt::format(",{}:{}", Json(tensor->name).dump(), fields.dump());
    layout.entries.push_back({tensor->name, tensor->dtype, tensor->shape, begin, *bytes});
  }
  if (text.empty()) text = ",";
  text.front() = '{';
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  expect(text.size() <= kMaxHeaderBytes, "a safetensors header of {} bytes is longer than readers take", text.size());

  const std::uint64_t length = text.size();
  layout.header.resize(kLengthBytes + text.size());
  std::memcpy(layout.header.data(), &length, kLengthBytes);
  std::memcpy(layout.header.data() + kLengthBytes, text.data(), text.size());
  const auto data = static_cast<std::int64_t>(layout.header.size());
  for (SafetensorsEntry& entry : layout.entries) entry.offset += data;
  layout.file_bytes = data + end;
  return layout;
}

}  // namespace mpiquant
