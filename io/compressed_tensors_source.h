#pragma once

#include <memory>
#include <vector>

#include "io/decoded_source.h"
#include "src/base/json.h"

namespace mpiquant {

// A repository in the format pack-quantized of compressed-tensors, with X.weight = scale * (q - zero) in place of
// X.weight_packed, X.weight_scale, X.weight_shape, X.weight_zero_point and X.weight_g_idx. Input errors: other formats, shapes
// that do not fit.
class CompressedTensorsSource final : public DecodedSource {
 public:
  // quantization: config.json's quantization_config.
  CompressedTensorsSource(std::unique_ptr<TensorSource> stored, const Json& quantization);

 private:
  void add_linear(const std::string& module, const std::vector<int>& widths);

  std::unique_ptr<TensorSource> stored_;
};

}  // namespace mpiquant
