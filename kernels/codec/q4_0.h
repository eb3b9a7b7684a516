#pragma once

#include "kernels/codec/grid.h"

namespace mpiquant::codec {

// ggml Q4_0, blocks of 32: W = d * (q - 8), q in [0, 15]; d = the value of largest magnitude / -8 in half precision, so that this
// value, of either sign, has code 0.
struct Q4_0 {
  explicit Q4_0(const CodecSpec&) {}

  MQ_HD int candidates() const { return 1; }

  MQ_HD static float exact_scale(const Extent& extent) { return extent.peak / -8; }

  MQ_HD Fitted fit(const Extent& extent, int) const {
    const StoredScale stored = store_scale(DType::kF16, exact_scale(extent));
    return {{stored.value, 0}, stored.range};
  }

  MQ_HD float code(float x, const GroupParams& p) const { return clamp(round_even(p.scale == 0 ? 0 : x / p.scale) + 8, 0, 15); }
  MQ_HD float value(float q, const GroupParams& p) const { return p.scale * (q - 8); }

  MQ_HD Rounder rounder(const Extent& extent, const GroupParams&) const {
    const float d = exact_scale(extent);
    return {d == 0 ? 0 : 1 / d, 0};
  }
  MQ_HD float rtn_code(float x, const Rounder& r) const {
    return static_cast<float>(static_cast<std::int32_t>(clamp(x * r.factor + 8.5F, 0, 15)));
  }
};

}  // namespace mpiquant::codec
