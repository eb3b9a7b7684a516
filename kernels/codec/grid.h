#pragma once

#include <cstdint>

#include "kernels/codec/codec.h"
#include "kernels/codec/scalar.h"
#include "kernels/hd.h"

// What every grid (int_group.h, q8_0.h, q4_0.h, q4_1.h) offers, as host and device functions:
//   int candidates()                         parameter sets that fit chooses from, by least sum of |error|^2.4; 1: no search
//   Fitted fit(Extent, int candidate)        parameters of a group as stored
//   float code(float x, GroupParams)         an integer in [0, 255]: the nearest code for the stored parameters, ties to even
//   float value(float code, GroupParams)
//   Rounder rounder(Extent, GroupParams)     what round to nearest divides by; ggml uses the scale before it is stored
//   float rtn_code(float x, Rounder)
namespace mpiquant::codec {

// What the fit of a group depends on. Values are seen in column order.
struct Extent {
  float low = 3.402823466e+38F;
  float high = -3.402823466e+38F;
  float peak = 0;  // the first value of largest magnitude

  MQ_HD void see(float x) {
    low = x < low ? x : low;
    high = x > high ? x : high;
    peak = magnitude(x) > magnitude(peak) ? x : peak;
  }
  MQ_HD static float magnitude(float x) { return x < 0 ? -x : x; }
};

struct Fitted {
  GroupParams params;
  int range = 0;  // see StoredScale
};

struct Rounder {
  float factor = 0;  // 1 / scale, or the scale
  float offset = 0;
};

// Errors are measured in this unit, the inverse of the largest magnitude, so that their powers stay in range.
MQ_HD inline float error_unit(const Extent& extent) {
  const float peak = Extent::magnitude(extent.peak);
  return peak < 1e-30F ? 1e30F : 1.0F / peak;
}

// Parameters of x[0], x[stride] … x[(n - 1) * stride]: the definition that vector and device code follow, operation by operation.
template <typename Grid>
MQ_HD Fitted fit_group(const Grid& grid, const float* x, std::int64_t n, std::int64_t stride) {
  Extent extent;
  for (std::int64_t i = 0; i < n; ++i) extent.see(x[i * stride]);
  Fitted best = grid.fit(extent, 0);
  if (grid.candidates() == 1) return best;
  const float unit = error_unit(extent);
  float least = 3.402823466e+38F;
  for (int candidate = 0; candidate < grid.candidates(); ++candidate) {
    const Fitted fitted = grid.fit(extent, candidate);
    float error = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const float w = x[i * stride];
      error += power_2_4((grid.value(grid.code(w, fitted.params), fitted.params) - w) * unit);
    }
    if (error < least) {
      least = error;
      best = fitted;
    }
  }
  return best;
}

}  // namespace mpiquant::codec
