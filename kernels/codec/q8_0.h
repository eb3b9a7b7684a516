#pragma once

#include "kernels/codec/grid.h"

namespace mpiquant::codec {

// ggml Q8_0, blocks of 32: W = d * (q - 128), stored as the signed byte q - 128; d = max|x| / 127 in half precision.
struct Q8_0 {
  explicit Q8_0(const CodecSpec&) {}

  MQ_HD int candidates() const { return 1; }

  MQ_HD static float exact_scale(const Extent& extent) { return Extent::magnitude(extent.peak) / 127.0F; }

  MQ_HD Fitted fit(const Extent& extent, int) const {
    const StoredScale stored = store_scale(DType::kF16, exact_scale(extent));
    return {{stored.value, 0}, stored.range};
  }

  MQ_HD float code(float x, const GroupParams& p) const {
    return clamp(round_even(p.scale == 0 ? 0 : x / p.scale) + 128, 0, 255);
  }
  MQ_HD float value(float q, const GroupParams& p) const { return p.scale * (q - 128); }

  MQ_HD Rounder rounder(const Extent& extent, const GroupParams&) const {
    const float d = exact_scale(extent);
    return {d == 0 ? 0 : 1 / d, 0};
  }
  // Half away from zero, as roundf.
  MQ_HD float rtn_code(float x, const Rounder& r) const {
    constexpr std::uint32_t kHalf = 0x3effffffU;  // the largest float below 1/2: added to a half, the sum rounds up to a whole
    const float scaled = clamp(x * r.factor, -127, 127);
    return static_cast<float>(static_cast<std::int32_t>(scaled + bits_float((float_bits(scaled) & 0x80000000U) | kHalf)) + 128);
  }
};

}  // namespace mpiquant::codec
