#pragma once

#include <string>
#include <vector>

#include "io/decoded_source.h"
#include "io/file.h"
#include "io/gguf.h"
#include "src/base/json.h"

namespace mpiquant {

// A GGUF file of architecture "llama" (F32, F16, BF16, Q8_0, Q4_0, Q4_1) as the Hugging Face tensors it was made from: their
// names, rows of q and k in their order, everything fp32. Input errors: other architectures, types or tensors.
class GgufSource final : public DecodedSource {
 public:
  explicit GgufSource(const std::string& path);

  const GgufHeader& header() const { return header_; }
  // Hugging Face names of the tensors whose type is none of F32, F16, BF16.
  std::vector<std::string> in_blocks() const;

 private:
  void add_tensor(const GgufTensor& tensor);

  File file_;
  GgufHeader header_;
};

// The config.json of such a file, from its metadata. A model whose rotary scaling is only in the tensor rope_freqs.weight is an
// input error: the numbers it was made from cannot be told.
Json config_from_gguf(const GgufHeader& header);

}  // namespace mpiquant
