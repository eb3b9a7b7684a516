#include <algorithm>
#include <bit>
#include <set>
#include <type_traits>

#include "io/gguf.h"
#include "io/gguf_format.h"
#include "src/base/error.h"
#include "src/base/json.h"

namespace mpiquant {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian and are read and written without swapping");

constexpr std::int64_t kBufferBytes = std::int64_t{1} << 20;
// Far above any vocabulary; keeps a hostile file from filling the memory.
constexpr std::int64_t kLargestHeader = std::int64_t{1} << 30;
// Smallest possible records: key length, one byte of key, type, value; name length, dimensions, type, offset.
constexpr std::int64_t kMinKeyValueBytes = 8 + 1 + 4 + 1;
constexpr std::int64_t kMinTensorBytes = 8 + 4 + 4 + 8;

// Text from a file as JSON, so that control characters never reach a terminal.
std::string as_json(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Reads a file from its beginning through a buffer and refuses what lies past its end.
class Cursor {
 public:
  explicit Cursor(const File& file) : file_(file), end_(std::min(file.size(), kLargestHeader)) {}

  std::int64_t position() const { return position_; }
  std::int64_t left() const { return end_ - position_; }
  const std::string& path() const { return file_.path(); }

  void read(std::span<std::byte> out) {
    check(static_cast<std::int64_t>(out.size()) <= left(), ExitCode::kInput,
          "{} has a header that ends past {} bytes (it is truncated or hostile) fetch it again", path(), end_);
    while (!out.empty()) {
      if (position_ < begin_ || position_ >= begin_ + static_cast<std::int64_t>(buffer_.size())) refill();
      const std::span<const std::byte> have = std::span(buffer_).subspan(static_cast<std::size_t>(position_ - begin_));
      const std::size_t size = std::min(have.size(), out.size());
      std::copy_n(have.begin(), size, out.begin());
      out = out.subspan(size);
      position_ += static_cast<std::int64_t>(size);
    }
  }

  template <typename T>
  T number() {
    T value{};
    read(std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }

  // A count of records of at least `bytes` each, which must fit into the rest of the file.
  std::size_t count(std::uint64_t stated, std::int64_t bytes, const char* what) {
    check(stated <= static_cast<std::uint64_t>(left() / bytes), ExitCode::kInput,
          "{} states {} {} (more than fit into the file) fetch it again", path(), stated, what);
    return static_cast<std::size_t>(stated);
  }

  std::string string() {
    std::string text(count(number<std::uint64_t>(), 1, "bytes of text"), '\0');
    read(std::as_writable_bytes(std::span(text)));
    return text;
  }

 private:
  void refill() {
    begin_ = position_;
    buffer_.resize(static_cast<std::size_t>(std::min(kBufferBytes, left())));
    file_.read_at(begin_, buffer_);
  }

  const File& file_;
  std::int64_t end_;  // of what is read as header
  std::int64_t position_ = 0;
  std::int64_t begin_ = 0;  // of the buffer in the file
  std::vector<std::byte> buffer_;
};

template <typename T>
T read_scalar(Cursor& cursor) {
  if constexpr (std::is_same_v<T, std::string>)
    return cursor.string();
  else if constexpr (std::is_same_v<T, bool>)
    return cursor.number<std::uint8_t>() != 0;
  else
    return cursor.number<T>();
}

template <typename T>
std::vector<T> read_array(Cursor& cursor) {
  constexpr std::int64_t kBytes = std::is_same_v<T, std::string> ? 8 : static_cast<std::int64_t>(sizeof(T));
  const std::size_t count = cursor.count(cursor.number<std::uint64_t>(), kBytes, "array elements");
  std::vector<T> array(count);
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>)
    cursor.read(std::as_writable_bytes(std::span(array)));
  else
    for (std::size_t i = 0; i < count; ++i) array[i] = read_scalar<T>(cursor);
  return array;
}

// Index into kTypeIds of a stored type id; kTypeIds.size() for an array.
std::size_t type_index(std::int32_t id, const Cursor& cursor, const std::string& key) {
  if (id == gguf::kArrayId) return gguf::kTypeIds.size();
  const auto* found = std::ranges::find(gguf::kTypeIds, id);
  check(found != gguf::kTypeIds.end(), ExitCode::kInput, "{}: key {} has the unknown type {} (the file is damaged or newer)",
        cursor.path(), as_json(key), id);
  return static_cast<std::size_t>(found - gguf::kTypeIds.begin());
}

template <std::size_t... I>
GgufValue read_alternative(Cursor& cursor, std::size_t index, bool array, std::index_sequence<I...>) {
  GgufValue value;
  const auto one = [&]<std::size_t K>() {
    using T = std::variant_alternative_t<K, GgufValue>;
    if (index != K) return;
    if (array)
      value = read_array<T>(cursor);
    else
      value = read_scalar<T>(cursor);
  };
  (one.template operator()<I>(), ...);
  return value;
}

GgufValue read_value(Cursor& cursor, const std::string& key) {
  std::size_t index = type_index(cursor.number<std::int32_t>(), cursor, key);
  const bool array = index == gguf::kTypeIds.size();
  if (array) index = type_index(cursor.number<std::int32_t>(), cursor, key);
  check(index < gguf::kTypeIds.size(), ExitCode::kInput, "{}: key {} is an array of arrays (the format allows none)",
        cursor.path(), as_json(key));
  return read_alternative(cursor, index, array, std::make_index_sequence<gguf::kTypeIds.size()>());
}

void read_start(Cursor& cursor, GgufHeader& header) {
  const auto magic = cursor.number<std::array<char, 4>>();
  check(magic == gguf::kMagic, ExitCode::kInput, "{} does not begin with GGUF (it is no GGUF file)", cursor.path());
  header.version = cursor.number<std::uint32_t>();
  check((header.version & 0xffffU) != 0, ExitCode::kInput,
        "{} has the other byte order (big-endian files are not read) convert it", cursor.path());
  check(header.version >= gguf::kOldestVersion && header.version <= gguf::kVersion, ExitCode::kInput,
        "{} has GGUF version {} (versions {} and {} are read) convert it", cursor.path(), header.version, gguf::kOldestVersion,
        gguf::kVersion);
}

// One tensor info; the offset is still relative to the data section.
GgufTensor read_tensor(Cursor& cursor) {
  GgufTensor tensor;
  tensor.name = cursor.string();
  const std::string what = cursor.path() + ": tensor " + as_json(tensor.name);
  check(tensor.name.size() <= gguf::kMaxNameBytes, ExitCode::kInput, "{} has a name of {} bytes (at most {} are read)", what,
        tensor.name.size(), gguf::kMaxNameBytes);
  const auto dims = cursor.number<std::uint32_t>();
  check(dims <= gguf::kMaxDims, ExitCode::kInput, "{} has {} dimensions (at most {} are read)", what, dims, gguf::kMaxDims);
  for (std::uint32_t i = 0; i < dims; ++i) tensor.dims.push_back(cursor.number<std::int64_t>());
  const auto id = cursor.number<std::int32_t>();
  const GgmlTypeInfo* type = find_ggml_type(id);
  check(type != nullptr, ExitCode::kInput, "{} has the unknown type {} (the file is damaged or newer)", what, id);
  tensor.type = type->type;
  const std::optional<std::int64_t> bytes = ggml_bytes(type->type, tensor.dims);
  check(bytes.has_value(), ExitCode::kInput,
        "{} cannot have the extents {} as {} (rows are whole blocks of {}, sizes below 2^63)", what,
        fmt::join(tensor.dims, " x "), type->name, type->block);
  tensor.bytes = *bytes;
  const auto offset = cursor.number<std::uint64_t>();
  check(offset <= static_cast<std::uint64_t>(INT64_MAX), ExitCode::kInput, "{} has the offset {} (the file is damaged)", what,
        offset);
  tensor.offset = static_cast<std::int64_t>(offset);
  return tensor;
}

std::int64_t checked_alignment(const GgufHeader& header, const std::string& path) {
  const GgufValue* value = header.find(gguf::kAlignmentKey);
  if (value == nullptr) return gguf::kDefaultAlignment;
  const auto* alignment = std::get_if<std::uint32_t>(value);
  check(alignment != nullptr && std::has_single_bit(*alignment), ExitCode::kInput,
        "{}: {} is not a power of two stored as u32 (the file is damaged)", path, gguf::kAlignmentKey);
  return *alignment;
}

// Turns offsets into file offsets after a check that the tensors follow each other, each padded, inside the file.
void place_tensors(const File& file, GgufHeader& header) {
  std::int64_t next = 0;
  for (GgufTensor& tensor : header.tensors) {
    const std::string what = file.path() + ": tensor " + as_json(tensor.name);
    check(tensor.offset == next, ExitCode::kInput, "{} begins at {} of the data, not at {} (data follows the order of the infos)",
          what, tensor.offset, next);
    std::int64_t end = 0;
    const bool fits = !__builtin_add_overflow(header.data_offset, next, &tensor.offset) &&
                      !__builtin_add_overflow(tensor.offset, tensor.bytes, &end) && end <= file.size();
    check(fits, ExitCode::kInput, "{} ends past the end of the file (it is truncated) fetch it again", what);
    // The tensor lies inside the file, so that adding a padding below 2^32 cannot overflow.
    next += gguf::align_up(tensor.bytes, header.alignment).value();
  }
}

}  // namespace

GgufHeader parse_gguf(const File& file) {
  Cursor cursor(file);
  GgufHeader header;
  read_start(cursor, header);
  const auto stated_tensors = cursor.number<std::uint64_t>();
  const auto stated_values = cursor.number<std::uint64_t>();
  const std::size_t tensors = cursor.count(stated_tensors, kMinTensorBytes, "tensors");
  const std::size_t values = cursor.count(stated_values, kMinKeyValueBytes, "key-values");

  std::set<std::string> keys;
  for (std::size_t i = 0; i < values; ++i) {
    std::string key = cursor.string();
    check(!key.empty() && keys.insert(key).second, ExitCode::kInput, "{}: key {} is {} (the file is damaged)", file.path(),
          as_json(key), key.empty() ? "empty" : "there twice");
    GgufValue value = read_value(cursor, key);
    header.values.push_back({std::move(key), std::move(value)});
  }
  header.alignment = checked_alignment(header, file.path());

  std::set<std::string> names;
  for (std::size_t i = 0; i < tensors; ++i) {
    header.tensors.push_back(read_tensor(cursor));
    const std::string& name = header.tensors.back().name;
    check(names.insert(name).second, ExitCode::kInput, "{}: tensor {} is there twice (the file is damaged)", file.path(),
          as_json(name));
  }
  header.data_offset = gguf::align_up(cursor.position(), header.alignment).value();
  place_tensors(file, header);
  return header;
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  const auto found = std::ranges::find(values, key, &GgufKeyValue::key);
  return found == values.end() ? nullptr : &found->value;
}

const GgufTensor* GgufHeader::find_tensor(std::string_view name) const {
  const auto found = std::ranges::find(tensors, name, &GgufTensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

}  // namespace mpiquant
