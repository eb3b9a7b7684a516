#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/tensor_source.h"
#include "src/plan/plan.h"
#include "src/run/convert.h"
#include "src/run/job.h"
#include "src/run/output_files.h"
#include "src/run/report.h"

namespace mpiquant {

// Round to nearest that holds a part of a linear at a time: each replica reads its parts, encodes and packs them and writes the
// bytes where they belong; for outputs that keep the linear dense, too. The bytes and records are those of BlockConverter.
class RowConverter {
 public:
  RowConverter(Job& job, const ModelSpec& model, const TensorSource& source, const Recipe& recipe,
               const std::vector<OutputSpec>& outputs, const Plan& plan, const BlockConverter& converter, OutputFiles& files,
               RankReport& report);

  bool takes(std::span<const BlockSpec> blocks) const;  // converts_by_rows
  // plans: of the blocks. Returns the records of the linears whose writer this replica is. Collective over the replicas.
  std::vector<TensorRecord> convert(std::span<const BlockSpec> blocks, std::span<const BlockPlan> plans);

 private:
  // Memory of a piece, used again for others.
  struct Scratch {
    std::vector<std::byte> stored;
    std::vector<float> values;  // of one row
    std::vector<std::uint8_t> codes;
    std::vector<GroupParams> params;
    std::vector<std::byte> packed;
  };
  // Errors of a part in each variant: squared error of each row, scales that underflowed, that overflowed.
  std::vector<double> convert_part(const LinearSpec& linear, const PartPlan& part, Scratch& scratch);
  // Rows of a linear in one codec, and what became of them.
  struct Errors {
    std::vector<double> of_rows;
    double underflows = 0, overflows = 0;
  };
  void encode(const LinearSpec& linear, std::int64_t row_begin, std::int64_t rows, const CodecSpec& codec, Scratch& scratch,
              Errors& errors) const;
  // Writes rows to the outputs that keep the linear dense, from what the source stores of them.
  void write_dense(const SlabPlan& slab, std::int64_t row_begin, std::int64_t rows, DType dtype, const Scratch& scratch);
  std::string tensor_of(const LinearSpec& linear) const;

  Job& job_;
  const ModelSpec& model_;
  const TensorSource& source_;
  const Recipe& recipe_;
  const std::vector<OutputSpec>& outputs_;
  const BlockConverter& converter_;
  OutputFiles& files_;
  RankReport& report_;
  std::map<std::pair<std::string, std::int64_t>, const SlabPlan*> dense_;  // by tensor and first row: with this rank's parts
  std::vector<Scratch> idle_;                                              // one for each thread, from layer to layer
};

}  // namespace mpiquant
