#pragma once

#include <memory>

#include "io/decoded_source.h"
#include "src/base/json.h"

namespace mpiquant {

// A repository in the GPTQ format (v1 and v2, 2, 3, 4, 8 bits, any g_idx) with X.weight = scale * (q - zero) in place of
// X.qweight, X.qzeros, X.scales and X.g_idx. Input errors: shapes that do not fit each other, groups that do not exist.
class GptqSource final : public DecodedSource {
 public:
  // quantization: config.json's quantization_config.
  GptqSource(std::unique_ptr<TensorSource> stored, const Json& quantization);

 private:
  void add_linear(const std::string& module, bool v1);

  std::unique_ptr<TensorSource> stored_;
};

}  // namespace mpiquant
