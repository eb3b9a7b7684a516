#include "io/gptq_source.h"

#include <algorithm>

#include "io/packing.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::string_view kPiece = ".qweight";

struct Linear {
  std::string module;
  std::int64_t rows, cols, groups;
  int bits;
  int zero_shift;  // what stored zero points lack: 1 in version 1
  std::vector<std::int32_t> g_idx;
};

// Columns [begin, end) of a stored matrix [rows, cols] of 2- or 4-byte elements.
template <typename T>
std::vector<T> read_columns(const TensorSource& stored, const std::string& name, std::int64_t rows, std::int64_t cols,
                            std::int64_t begin, std::int64_t end) {
  const std::int64_t width = end - begin;
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(T));
  std::vector<T> values(static_cast<std::size_t>(rows * width));
  if (width == cols) {
    stored.read_raw(name, 0, std::as_writable_bytes(std::span(values)));
    return values;
  }
  for (std::int64_t row = 0; row < rows; ++row)
    stored.read_raw(name, (row * cols + begin) * kSize,
                    std::as_writable_bytes(
                        std::span(values).subspan(static_cast<std::size_t>(row * width), static_cast<std::size_t>(width))));
  return values;
}

void decode(const TensorSource& stored, const Linear& linear, std::int64_t begin, std::int64_t end, std::span<float> out) {
  const std::int64_t rows = end - begin;
  const auto words = read_columns<std::uint32_t>(stored, linear.module + ".qweight", packed_words(linear.cols, linear.bits),
                                                 linear.rows, begin, end);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * linear.cols));
  unpack_columns(std::as_bytes(std::span(words)), rows, linear.cols, linear.bits, codes);
  const auto scales = read_columns<std::uint16_t>(stored, linear.module + ".scales", linear.groups, linear.rows, begin, end);
  std::vector<std::byte> packed(static_cast<std::size_t>(linear.groups * packed_words(linear.rows, linear.bits) * 4));
  stored.read_raw(linear.module + ".qzeros", 0, packed);
  std::vector<std::uint8_t> zeros(static_cast<std::size_t>(linear.groups * linear.rows));
  unpack_rows(packed, linear.groups, linear.rows, linear.bits, zeros);
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t k = 0; k < linear.cols; ++k) {
      const std::int64_t group = linear.g_idx[static_cast<std::size_t>(k)];
      const float scale = f16_to_f32(scales[static_cast<std::size_t>(group * rows + n)]);
      const auto zero = static_cast<float>(zeros[static_cast<std::size_t>(group * linear.rows + begin + n)] + linear.zero_shift);
      const auto at = static_cast<std::size_t>(n * linear.cols + k);
      out[at] = scale * (static_cast<float>(codes[at]) - zero);
    }
}

bool is_matrix(const TensorEntry& entry, DType dtype, std::int64_t rows, std::int64_t cols) {
  return entry.dtype == dtype && entry.shape == Shape{rows, cols};
}

}  // namespace

GptqSource::GptqSource(std::unique_ptr<TensorSource> stored, const Json& quantization) : stored_(std::move(stored)) {
  const std::string format = quantization.value("checkpoint_format", quantization.value("format", std::string("gptq")));
  check(format == "gptq" || format == "gptq_v2", ExitCode::kInput, "checkpoint_format {} is not read here (known: gptq, gptq_v2)",
        format);
  for (const TensorEntry& entry : stored_->entries()) {
    const std::size_t dot = std::min(entry.name.rfind('.'), entry.name.size());
    const std::string module = entry.name.substr(0, dot);
    if (entry.name.ends_with(kPiece))
      add_linear(module, format == "gptq");
    else if (stored_->find(module + std::string(kPiece)) == nullptr || entry.name.ends_with(".bias"))
      add_stored(entry, [this, &name = entry.name](std::int64_t offset, std::span<std::byte> out) {
        stored_->read_raw(name, offset, out);
      });
  }
  sort_entries();
}

void GptqSource::add_linear(const std::string& module, bool v1) {
  const TensorEntry& qweight = stored_->at(module + ".qweight");
  const TensorEntry& scales = stored_->at(module + ".scales");
  const TensorEntry& qzeros = stored_->at(module + ".qzeros");
  const TensorEntry& g_idx = stored_->at(module + ".g_idx");
  const bool shaped = qweight.shape.size() == 2 && scales.shape.size() == 2 && g_idx.shape.size() == 1 &&
                      g_idx.dtype == DType::kI32 && g_idx.shape[0] > 0 && g_idx.shape[0] <= (std::int64_t{1} << 32);
  check(shaped, ExitCode::kInput, "{} has pieces of the wrong shape or dtype (it is not in the GPTQ format)", module);
  Linear linear{.module = module,
                .rows = qweight.shape[1],
                .cols = g_idx.shape[0],
                .groups = scales.shape[0],
                .bits = 0,
                .zero_shift = v1 ? 1 : 0,
                .g_idx = {}};
  for (const int bits : {2, 3, 4, 8})
    if (linear.cols % 32 == 0 && packed_words(linear.cols, bits) == qweight.shape[0]) linear.bits = bits;
  check(linear.bits != 0 && is_matrix(qweight, DType::kI32, packed_words(linear.cols, linear.bits), linear.rows) &&
            is_matrix(scales, DType::kF16, linear.groups, linear.rows) &&
            is_matrix(qzeros, DType::kI32, linear.groups, packed_words(linear.rows, linear.bits)),
        ExitCode::kInput, "the pieces of {} do not fit each other: qweight [{}], scales [{}], qzeros [{}], g_idx [{}]", module,
        fmt::join(qweight.shape, ", "), fmt::join(scales.shape, ", "), fmt::join(qzeros.shape, ", "), linear.cols);
  linear.g_idx.resize(static_cast<std::size_t>(linear.cols));
  stored_->read_raw(g_idx.name, 0, std::as_writable_bytes(std::span(linear.g_idx)));
  for (const std::int32_t group : linear.g_idx)
    check(group >= 0 && group < linear.groups, ExitCode::kInput, "{}.g_idx names group {} of {}", module, group, linear.groups);
  const Shape shape{linear.rows, linear.cols};
  add_decoded(module + ".weight", shape,
              [this, linear = std::move(linear)](std::int64_t begin, std::int64_t end, std::span<float> out) {
                decode(*stored_, linear, begin, end, out);
              });
}

}  // namespace mpiquant
