#include <bit>
#include <set>
#include <type_traits>

#include "io/gguf.h"
#include "io/gguf_format.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

class Bytes {
 public:
  template <typename T>
  void put(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      put(static_cast<std::uint64_t>(value.size()));
      append(std::as_bytes(std::span(value)));
    } else if constexpr (std::is_same_v<T, bool>) {
      put(static_cast<std::uint8_t>(value ? 1 : 0));
    } else {
      static_assert(std::is_trivially_copyable_v<T>);
      append(std::as_bytes(std::span(&value, 1)));
    }
  }

  void put_value(const GgufValue& value) {
    const bool array = value.index() >= gguf::kTypeIds.size();
    if (array) put(gguf::kArrayId);
    put(gguf::kTypeIds[value.index() % gguf::kTypeIds.size()]);
    std::visit([this](const auto& held) { put_held(held); }, value);
  }

  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  template <typename T>
  void put_held(const T& value) {
    put(value);
  }
  template <typename T>
  void put_held(const std::vector<T>& array) {
    put(static_cast<std::uint64_t>(array.size()));
    for (std::size_t i = 0; i < array.size(); ++i) put<T>(array[i]);
  }
  void append(std::span<const std::byte> more) { bytes_.insert(bytes_.end(), more.begin(), more.end()); }

  std::vector<std::byte> bytes_;
};

std::int64_t stated_alignment(std::span<const GgufKeyValue> values) {
  for (const GgufKeyValue& pair : values) {
    if (pair.key != gguf::kAlignmentKey) continue;
    const auto* alignment = std::get_if<std::uint32_t>(&pair.value);
    expect(alignment != nullptr && std::has_single_bit(*alignment), "{} is not a power of two as u32", gguf::kAlignmentKey);
    return *alignment;
  }
  return gguf::kDefaultAlignment;
}

// Offsets relative to the data section, in the order given; returns the size of the section.
std::int64_t lay_out(std::vector<GgufTensor>& tensors, std::int64_t alignment) {
  std::int64_t end = 0;
  for (GgufTensor& tensor : tensors) {
    const std::optional<std::int64_t> bytes = ggml_bytes(tensor.type, tensor.dims);
    expect(bytes.has_value(), "tensor {} has no size as {}", tensor.name, info(tensor.type).name);
    tensor.offset = end;
    tensor.bytes = *bytes;
    const std::optional<std::int64_t> padded = gguf::align_up(*bytes, alignment);
    expect(padded.has_value() && !__builtin_add_overflow(end, *padded, &end), "tensor {} ends past 2^63", tensor.name);
  }
  return end;
}

}  // namespace

GgufLayout build_gguf_header(std::span<const GgufKeyValue> values, std::span<const GgufTensor> tensors) {
  const std::int64_t alignment = stated_alignment(values);
  GgufLayout layout;
  layout.tensors.assign(tensors.begin(), tensors.end());
  const std::int64_t data_bytes = lay_out(layout.tensors, alignment);

  Bytes out;
  out.put(gguf::kMagic);
  out.put(gguf::kVersion);
  out.put(static_cast<std::int64_t>(tensors.size()));
  out.put(static_cast<std::int64_t>(values.size()));
  std::set<std::string_view> keys;
  for (const GgufKeyValue& pair : values) {
    expect(!pair.key.empty() && keys.insert(pair.key).second, "key \"{}\" is empty or written twice", pair.key);
    out.put(pair.key);
    out.put_value(pair.value);
  }
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : layout.tensors) {
    expect(tensor.name.size() <= gguf::kMaxNameBytes && names.insert(tensor.name).second,
           "tensor name \"{}\" is too long for GGUF or written twice", tensor.name);
    expect(tensor.dims.size() <= gguf::kMaxDims, "tensor {} has {} dimensions", tensor.name, tensor.dims.size());
    out.put(tensor.name);
    out.put(static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::int64_t extent : tensor.dims) out.put(extent);
    out.put(static_cast<std::int32_t>(tensor.type));
    out.put(static_cast<std::uint64_t>(tensor.offset));
  }

  layout.header = std::move(out.bytes());
  const std::int64_t data_offset = gguf::align_up(static_cast<std::int64_t>(layout.header.size()), alignment).value();
  layout.header.resize(static_cast<std::size_t>(data_offset));
  for (GgufTensor& tensor : layout.tensors) tensor.offset += data_offset;
  expect(!__builtin_add_overflow(data_offset, data_bytes, &layout.file_bytes), "a GGUF file ends past 2^63");
  return layout;
}

}  // namespace mpiquant
