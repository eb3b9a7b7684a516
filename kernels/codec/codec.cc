#include "kernels/codec/codec.h"

#include <array>

#include "kernels/codec/codec_table.h"
#include "src/base/error.h"

namespace mpiquant {
namespace {

constexpr std::array<CodecInfo, 4> kCodecs = {{
    {CodecKind::kInt, "int", "integers of 2, 3, 4 or 8 bits in groups of columns, with or without zero point"},
    {CodecKind::kQ8_0, "q8_0", "ggml: 8 bits in blocks of 32, symmetric, half-precision scale"},
    {CodecKind::kQ4_0, "q4_0", "ggml: 4 bits in blocks of 32, symmetric, half-precision scale"},
    {CodecKind::kQ4_1, "q4_1", "ggml: 4 bits in blocks of 32, half-precision scale and minimum"},
}};

}  // namespace

std::span<const CodecInfo> codecs() { return kCodecs; }

std::string to_string(const CodecSpec& codec) {
  const auto index = static_cast<std::size_t>(codec.kind);
  expect(index < kCodecs.size() && kCodecs[index].kind == codec.kind, "codec {} is not in the table", index);
  if (codec.kind != CodecKind::kInt) return std::string(kCodecs[index].name);
  const std::string group = codec.group_size < 0 ? "row" : fmt::format("g{}", codec.group_size);
  return fmt::format("{}{} {} {}{}", kCodecs[index].name, codec.bits, group, codec.symmetric ? "sym" : "asym",
                     codec.mse ? " mse" : "");
}

void expect_valid(const CodecSpec& codec) {
  if (codec.kind == CodecKind::kInt) {
    expect(codec.bits == 2 || codec.bits == 3 || codec.bits == 4 || codec.bits == 8, "{} bits", codec.bits);
    expect(codec.group_size == -1 || codec.group_size > 0, "groups of {}", codec.group_size);
    expect(codec.scale_dtype == DType::kF16 || codec.scale_dtype == DType::kBF16 || codec.scale_dtype == DType::kF32,
           "scales in {}", info(codec.scale_dtype).torch_name);
    return;
  }
  expect(codec.group_size == 32 && codec.scale_dtype == DType::kF16, "{} with groups of {}", to_string(codec), codec.group_size);
}

}  // namespace mpiquant
