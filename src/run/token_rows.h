#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/base/model_spec.h"
#include "src/comm/communicator.h"
#include "src/plan/plan.h"

namespace mpiquant {

using Samples = std::vector<std::vector<std::int32_t>>;

// Rows of the embedding for the tokens of a calibration: every rank picks up those that pass it when it carries the embedding
// over to the outputs, and gets the others' from them, so that none is read for this.
class TokenRows {
 public:
  // samples: those of the whole calibration; ids outside the vocabulary are an input error.
  TokenRows(const ModelSpec& model, const Plan& plan, const Samples& samples, const Communicator& world);

  // Rows [begin, end) of the embedding, which the plan gives to this rank. Calls may overlap in time.
  void pass(std::int64_t begin, std::int64_t end, std::span<const float> rows);
  // When all have passed. Collective over the job.
  void share(Communicator& world);
  // A row for each id, out [ids, hidden], after share().
  void copy(std::span<const std::int32_t> ids, std::span<float> out) const;

 private:
  std::span<float> row(std::size_t index) { return std::span(rows_).subspan(place_[index] * hidden_, hidden_); }

  std::size_t hidden_;
  std::vector<std::int32_t> ids_;     // distinct, sorted
  std::vector<std::size_t> place_;    // of the row of each id: by rank, then by id
  std::vector<std::size_t> by_rank_;  // rows that each rank picks up
  std::vector<float> rows_;           // [ids, hidden]
};

}  // namespace mpiquant
