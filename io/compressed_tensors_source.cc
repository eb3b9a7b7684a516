#include "io/compressed_tensors_source.h"

#include <algorithm>
#include <array>

#include "io/packing.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::string_view kPiece = ".weight_packed";

struct Linear {
  std::string module;
  std::int64_t rows, cols, groups;
  int bits;
  bool asymmetric;
  std::vector<std::int32_t> g_idx;
};

void decode(const TensorSource& stored, const Linear& linear, std::int64_t begin, std::int64_t end, std::span<float> out) {
  const std::int64_t rows = end - begin;
  const std::int64_t words = packed_words(linear.cols, linear.bits);
  std::vector<std::byte> packed(static_cast<std::size_t>(rows * words * 4));
  stored.read_raw(linear.module + ".weight_packed", begin * words * 4, packed);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * linear.cols));
  unpack_rows(packed, rows, linear.cols, linear.bits, codes);
  std::vector<float> scales(static_cast<std::size_t>(rows * linear.groups));
  stored.read_rows(linear.module + ".weight_scale", begin, end, scales);
  std::vector<std::uint8_t> zeros(static_cast<std::size_t>(linear.groups * linear.rows),
                                  static_cast<std::uint8_t>(1 << (linear.bits - 1)));
  if (linear.asymmetric) {
    std::vector<std::byte> packed_zeros(static_cast<std::size_t>(packed_words(linear.rows, linear.bits) * linear.groups * 4));
    stored.read_raw(linear.module + ".weight_zero_point", 0, packed_zeros);
    unpack_columns(packed_zeros, linear.groups, linear.rows, linear.bits, zeros);
  }
  for (std::int64_t n = 0; n < rows; ++n)
    for (std::int64_t k = 0; k < linear.cols; ++k) {
      const std::int64_t group = linear.g_idx[static_cast<std::size_t>(k)];
      const float zero = static_cast<float>(zeros[static_cast<std::size_t>(group * linear.rows + begin + n)]);
      const auto at = static_cast<std::size_t>(n * linear.cols + k);
      out[at] = scales[static_cast<std::size_t>(n * linear.groups + group)] * (static_cast<float>(codes[at]) - zero);
    }
}

// The bit widths of all config groups.
std::vector<int> widths_of(const Json& quantization) {
  std::vector<int> widths;
  if (quantization.contains("config_groups") && quantization["config_groups"].is_object())
    for (const auto& [name, group] : quantization["config_groups"].items())
      if (group.contains("weights") && group["weights"].is_object()) {
        const int bits = group["weights"].value("num_bits", 0);
        if (bits >= 1 && bits <= 8 && std::ranges::find(widths, bits) == widths.end()) widths.push_back(bits);
      }
  return widths;
}

}  // namespace

CompressedTensorsSource::CompressedTensorsSource(std::unique_ptr<TensorSource> stored, const Json& quantization)
    : stored_(std::move(stored)) {
  const std::string format = quantization.value("format", std::string());
  check(format == "pack-quantized", ExitCode::kInput, "compressed-tensors format {} is not read here (known: pack-quantized)",
        format);
  const std::vector<int> widths = widths_of(quantization);
  for (const TensorEntry& entry : stored_->entries()) {
    const std::size_t dot = std::min(entry.name.rfind('.'), entry.name.size());
    const std::string module = entry.name.substr(0, dot);
    if (entry.name.ends_with(kPiece))
      add_linear(module, widths);
    else if (stored_->find(module + std::string(kPiece)) == nullptr || entry.name.ends_with(".bias"))
      add_stored(entry, [this, &name = entry.name](std::int64_t offset, std::span<std::byte> out) {
        stored_->read_raw(name, offset, out);
      });
  }
  sort_entries();
}

void CompressedTensorsSource::add_linear(const std::string& module, const std::vector<int>& widths) {
  const TensorEntry& packed = stored_->at(module + ".weight_packed");
  const TensorEntry& scale = stored_->at(module + ".weight_scale");
  const TensorEntry& shape = stored_->at(module + ".weight_shape");
  const TensorEntry* zeros = stored_->find(module + ".weight_zero_point");
  check(packed.dtype == DType::kI32 && packed.shape.size() == 2 && scale.shape.size() == 2 && scale.dtype &&
            is_float(*scale.dtype) && shape.dtype == DType::kI64 && shape.shape == Shape{2},
        ExitCode::kInput, "{} has pieces of the wrong shape or dtype (it is not in the format pack-quantized)", module);
  std::array<std::int64_t, 2> extents{};
  stored_->read_raw(shape.name, 0, std::as_writable_bytes(std::span(extents)));
  const auto [rows, cols] = extents;
  const std::int64_t groups = scale.shape[1];
  check(rows == packed.shape[0] && rows == scale.shape[0] && cols > 0 && cols / 32 <= packed.shape[1] && groups > 0 &&
            cols % groups == 0,
        ExitCode::kInput, "the pieces of {} do not fit each other: weight_shape [{}, {}], weight_packed [{}], weight_scale [{}]",
        module, rows, cols, fmt::join(packed.shape, ", "), fmt::join(scale.shape, ", "));
  Linear linear{
      .module = module, .rows = rows, .cols = cols, .groups = groups, .bits = 0, .asymmetric = zeros != nullptr, .g_idx = {}};
  int fitting = 0;
  for (const int bits : widths)
    if (packed_words(cols, bits) == packed.shape[1]) {
      linear.bits = bits;
      ++fitting;
    }
  check(fitting == 1, ExitCode::kInput, "{} bit widths of quantization_config fit the {} words of a row of {}", fitting,
        packed.shape[1], module);
  check(zeros == nullptr || (zeros->dtype == DType::kI32 && zeros->shape == Shape{packed_words(rows, linear.bits), groups}),
        ExitCode::kInput, "{}.weight_zero_point has the wrong shape or dtype", module);
  linear.g_idx.resize(static_cast<std::size_t>(cols));
  if (const TensorEntry* g_idx = stored_->find(module + ".weight_g_idx"); g_idx != nullptr) {
    check(g_idx->dtype == DType::kI32 && g_idx->shape == Shape{cols}, ExitCode::kInput,
          "{}.weight_g_idx has the wrong shape or dtype", module);
    stored_->read_raw(g_idx->name, 0, std::as_writable_bytes(std::span(linear.g_idx)));
    for (const std::int32_t group : linear.g_idx)
      check(group >= 0 && group < groups, ExitCode::kInput, "{}.weight_g_idx names group {} of {}", module, group, groups);
  } else {
    for (std::int64_t k = 0; k < cols; ++k)
      linear.g_idx[static_cast<std::size_t>(k)] = static_cast<std::int32_t>(k / (cols / groups));
  }
  add_decoded(module + ".weight", {rows, cols},
              [this, linear = std::move(linear)](std::int64_t begin, std::int64_t end, std::span<float> out) {
                decode(*stored_, linear, begin, end, out);
              });
}

}  // namespace mpiquant
