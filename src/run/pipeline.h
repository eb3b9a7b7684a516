#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "io/tensor_source.h"
#include "src/model/decoder.h"
#include "src/plan/plan.h"
#include "src/run/convert.h"
#include "src/run/job.h"
#include "src/run/output_files.h"
#include "src/run/report.h"

namespace mpiquant {

using Samples = std::vector<std::vector<std::int32_t>>;

// The layer loop: forward, Hessians, conversion, for the layers of this rank's stage.
class Pipeline {
 public:
  // samples: the calibration, all of it on every rank; empty for methods without calibration.
  Pipeline(Job& job, const ModelSpec& model, const TensorSource& source, const Recipe& recipe,
           const std::vector<OutputSpec>& outputs, const Plan& plan, const Samples& samples, OutputFiles& files,
           RankReport& report);

  // Collective over all ranks.
  void run();

  // Of the linears this rank wrote.
  const std::vector<TensorRecord>& records() const { return converter_.records(); }

 private:
  bool calibrated() const { return !plan_.units.empty(); }
  bool first_stage() const { return job_.grid.stage() == 0; }
  bool last_stage() const { return job_.grid.stage() == plan_.stages - 1; }
  std::int64_t calibration_tokens() const;
  void make_units();
  void embed_unit(std::size_t unit);
  void receive_unit(std::size_t unit);
  void send_unit(std::size_t unit);
  void stream_originals(const std::vector<LayerWeights>& layers, std::int64_t first);
  void quantize_layer(const LayerSpec& layer, const LayerPlan& plan, LayerWeights& weights, bool forward_whole);
  void quantize_head();
  Factor factor_of(const BlockSpec& block, const BlockPlan& plan);
  void convert_block(const BlockSpec& block, const BlockPlan& plan, const std::vector<LinearWeights>& weights,
                     const Factor* factor);
  template <typename Body>
  void for_units(Body&& body);

  Job& job_;
  const ModelSpec& model_;
  const TensorSource& source_;
  const Recipe& recipe_;
  const Plan& plan_;
  const Samples& samples_;
  RankReport& report_;
  std::optional<std::size_t> propagated_;
  BlockConverter converter_;
  std::optional<Decoder> decoder_;
  std::vector<std::int64_t> mine_;  // indices of this replica's units
  std::vector<UnitState> units_;    // their states
};

}  // namespace mpiquant
