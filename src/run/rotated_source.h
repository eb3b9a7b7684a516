#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/decoded_source.h"
#include "src/base/model_spec.h"
#include "src/quant/rotation.h"

namespace mpiquant {

// The norm's weights that are multiplied into the columns of a linear; empty: none are.
std::vector<float> folded_norm(const TensorSource& stored, const RotatedTensor& change, std::int64_t cols);

// A model's tensors as they are after the rotation, in fp32, computed as they are read.
class RotatedSource final : public DecodedSource {
 public:
  // stored outlives this.
  RotatedSource(const TensorSource& stored, const ModelSpec& model);

  std::int64_t row_block(std::string_view name) const override;
  // Makes of rows [begin, end) of the stored tensor those of the rotated model's tensor `name`; the range begins and ends with
  // one of its row blocks.
  void turn(const std::string& name, std::int64_t begin, std::int64_t end, std::span<float> rows) const;

 private:
  void read(const std::string& name, const std::string& stored_name, std::int64_t cols, std::int64_t begin, std::int64_t end,
            std::span<float> out) const;

  using Norm = std::shared_ptr<const std::vector<float>>;
  Norm norm_of(const RotatedTensor& change, std::int64_t cols) const;

  const TensorSource& stored_;
  std::map<std::string, RotatedTensor, std::less<>> changes_;
  std::map<std::int64_t, Rotation> rotations_;  // by period
  mutable std::mutex mutex_;
  mutable std::map<std::string, Norm> norms_;  // of the tensors read last, by name
};

}  // namespace mpiquant
