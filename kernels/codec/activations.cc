#include "kernels/codec/activations.h"

#include <algorithm>
#include <cmath>

#include "src/base/dtype.h"
#include "src/base/error.h"

namespace mpiquant::codec {

void round_activations(std::span<float> values) {
  expect(values.size() % kActivationBlock == 0, "{} activations are not whole blocks", values.size());
  for (; !values.empty(); values = values.subspan(kActivationBlock)) {
    const std::span<float> block = values.first(kActivationBlock);
    float largest = 0;
    for (const float value : block) largest = std::max(largest, std::abs(value));
    const float factor = largest == 0 ? 0 : 127.0F / largest, scale = round_to(DType::kF16, largest / 127.0F);
    for (float& value : block) value = std::nearbyint(value * factor) * scale;
  }
}

}  // namespace mpiquant::codec
