#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "src/plan/plan.h"
#include "src/quant/method.h"
#include "src/run/job.h"
#include "src/run/output_files.h"

namespace mpiquant {

// What became of one linear in one codec.
struct TensorRecord {
  std::string module;
  std::string codec;
  double error = 0;  // mean over the calibration tokens of |ΔW x|², summed over the outputs (gptq); Σ ΔW² (rtn)
  double damp_percent = 0;
  int damp_retries = 0;
  std::int64_t dead_columns = 0;
  std::int64_t scale_underflows = 0;
  std::int64_t scale_overflows = 0;
  std::vector<std::size_t> outputs;
};

// Converts the linears of one block: each replica its parts, in every codec that an output asks for; the parts travel to the
// tensor's writer, and the rows that are propagated to all replicas.
class BlockConverter {
 public:
  BlockConverter(Job& job, const Recipe& recipe, const std::vector<OutputSpec>& outputs, std::optional<std::size_t> propagated,
                 OutputFiles& files);

  // True if some output stores a linear of this block with a codec.
  bool converts(const BlockSpec& block) const;
  // weights: [rows, cols] of each linear on the backend; factor: null for methods without calibration.
  // Decoded rows of the propagated output replace those of `decoded` (which may be `weights`; empty: nothing is propagated).
  // Collective over the replicas.
  void convert(const BlockSpec& block, const BlockPlan& plan, std::span<const ConstMatrix> weights, const Factor* factor,
               std::int64_t tokens, std::span<const Matrix> decoded);

  // Of the linears this replica wrote.
  const std::vector<TensorRecord>& records() const { return records_; }
  std::int64_t rows_swept() const { return rows_swept_; }

 private:
  struct Variant {
    CodecSpec codec;
    std::vector<std::size_t> outputs;
    bool propagated = false;
  };
  std::vector<Variant> variants_of(const LinearSpec& linear) const;
  void finish(const LinearSpec& linear, const Variant& variant, std::vector<EncodedRows> parts, const Factor* factor,
              std::int64_t tokens);

  Job& job_;
  const Recipe& recipe_;
  const std::vector<OutputSpec>& outputs_;
  std::optional<std::size_t> propagated_;
  OutputFiles& files_;
  std::vector<TensorRecord> records_;
  std::int64_t rows_swept_ = 0;
};

}  // namespace mpiquant
