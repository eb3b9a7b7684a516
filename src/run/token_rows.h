#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "src/base/model_spec.h"
#include "src/comm/communicator.h"
#include "src/plan/plan.h"

namespace mpiquant {

using Samples = std::vector<std::vector<std::int32_t>>;

// Rows of the embedding for the tokens of a calibration, so that none is read for this: every rank picks up those that pass it
// when it carries the embedding over to the outputs, and gives each replica of the first stage those of its units.
class TokenRows {
 public:
  // samples: those of the whole calibration; ids outside the vocabulary are an input error.
  TokenRows(const ModelSpec& model, const Plan& plan, const Samples& samples, const Communicator& world);

  // Rows [begin, end) of the embedding, which the plan gives to this rank. Calls may overlap in time.
  void pass(std::int64_t begin, std::int64_t end, std::span<const float> rows);
  // When all have passed. Collective over the job.
  void share(Communicator& world);
  // A row for each id of this replica's units, out [ids, hidden], after share().
  void copy(std::span<const std::int32_t> ids, std::span<float> out) const;

 private:
  using Ids = std::vector<std::int32_t>;  // distinct, sorted
  struct Slab {
    std::int64_t begin, end;
    int rank;
  };

  // Those of a replica's units, or none.
  Ids ids_of(const Plan& plan, const Samples& samples, int replica) const;
  // Those whose rows pass a rank.
  Ids passing(const Ids& ids, int rank) const;

  std::size_t vocab_, hidden_;
  std::vector<Slab> slabs_;       // of the embedding, in its order
  std::vector<Ids> wanted_;       // by replica: of its units
  Ids picked_;                    // that pass this rank and are wanted
  std::vector<float> passed_;     // their rows
  Ids ids_;                       // of this replica's units, and
  std::vector<std::size_t> row_;  // where their rows are
  std::vector<float> rows_;
};

}  // namespace mpiquant
