#pragma once

#include "kernels/codec/grid.h"

namespace mpiquant::codec {

// ggml Q4_1, blocks of 32: W = d * q + m, q in [0, 15]; d = (max - min) / 15 and m = min, both in half precision.
struct Q4_1 {
  explicit Q4_1(const CodecSpec&) {}

  MQ_HD int candidates() const { return 1; }

  MQ_HD static float exact_scale(const Extent& extent) { return (extent.high - extent.low) / 15; }

  MQ_HD Fitted fit(const Extent& extent, int) const {
    const StoredScale scale = store_scale(DType::kF16, exact_scale(extent));
    const StoredScale offset = store_scale(DType::kF16, extent.low);
    return {{scale.value, offset.value}, scale.range != 0 ? scale.range : offset.range > 0 ? 1 : 0};
  }

  MQ_HD float code(float x, const GroupParams& p) const {
    return clamp(round_even(p.scale == 0 ? 0 : (x - p.offset) / p.scale), 0, 15);
  }
  MQ_HD float value(float q, const GroupParams& p) const { return p.scale * q + p.offset; }

  MQ_HD Rounder rounder(const Extent& extent, const GroupParams&) const {
    const float d = exact_scale(extent);
    return {d == 0 ? 0 : 1 / d, extent.low};
  }
  MQ_HD float rtn_code(float x, const Rounder& r) const {
    return static_cast<float>(static_cast<std::int32_t>(clamp((x - r.offset) * r.factor + 0.5F, 0, 15)));
  }
};

}  // namespace mpiquant::codec
