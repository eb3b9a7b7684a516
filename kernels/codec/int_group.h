#pragma once

#include "kernels/codec/grid.h"

namespace mpiquant::codec {

// Group-wise integers as in the GPTQ paper's code: W = scale * (q - zero), q in [0, 2^bits - 1]. The range of a group includes
// zero; symmetric: it is mirrored when it has negative values, and zero is 2^(bits-1). Search: the range shrinks by 1, 0.99 …
// 0.21.
struct IntGroup {
  float levels;  // 2^bits - 1
  bool symmetric;
  bool search;
  DType scale_dtype;

  explicit IntGroup(const CodecSpec& spec)
      : levels(static_cast<float>((1 << spec.bits) - 1)),
        symmetric(spec.symmetric),
        search(spec.mse),
        scale_dtype(spec.scale_dtype) {}

  MQ_HD int candidates() const { return search ? 80 : 1; }

  MQ_HD Fitted fit(const Extent& extent, int candidate) const {
    double low = extent.low < 0 ? extent.low : 0;
    double high = extent.high > 0 ? extent.high : 0;
    if (symmetric) {
      high = -low > high ? -low : high;
      low = low < 0 ? -high : low;
    }
    if (low == 0 && high == 0) {
      low = -1;
      high = 1;
    }
    const double shrink = 1 - candidate / 100.0;
    const double scale = shrink * (high - low) / levels;
    const double zero = symmetric ? (levels + 1) / 2 : round_even(-shrink * low / scale);
    StoredScale stored = store_scale(scale_dtype, static_cast<float>(scale));
    if (stored.range < 0) stored.value = smallest_scale(scale_dtype);
    return {{stored.value, static_cast<float>(zero)}, stored.range};
  }

  MQ_HD float code(float x, const GroupParams& p) const { return clamp(round_even(x / p.scale) + p.offset, 0, levels); }
  MQ_HD float value(float q, const GroupParams& p) const { return p.scale * (q - p.offset); }

  MQ_HD Rounder rounder(const Extent&, const GroupParams& p) const { return {p.scale, p.offset}; }
  MQ_HD float rtn_code(float x, const Rounder& r) const { return code(x, {r.factor, r.offset}); }
};

}  // namespace mpiquant::codec
