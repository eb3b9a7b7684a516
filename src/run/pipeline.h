#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "src/model/decoder.h"
#include "src/plan/plan.h"
#include "src/run/checkpoint.h"
#include "src/run/committer.h"
#include "src/run/convert.h"
#include "src/run/convert_rows.h"
#include "src/run/dense_tensors.h"
#include "src/run/hessian.h"
#include "src/run/hessian_store.h"
#include "src/run/job.h"
#include "src/run/layer_lines.h"
#include "src/run/layer_loader.h"
#include "src/run/model_input.h"
#include "src/run/output_files.h"
#include "src/run/report.h"
#include "src/run/resume.h"
#include "src/run/token_rows.h"

namespace mpiquant {

// How Hessians are summed, and whether they were kept before, to be used in place of calibration, or are to be kept.
struct HessianUse {
  HessianSums sums = HessianSums::kInt64;
  std::optional<HessianStore> from;
  std::optional<HessianStore> keep;
  std::int64_t tokens = 0;  // of the calibration behind `from`
  // Of the form of the model that these Hessians are of: of `from`, or of the activations that pass the layers.
  std::vector<std::string> transforms;
  // Makes of one that of the form with other transforms.
  std::function<void(const std::vector<std::string>& to, std::int64_t layer, std::size_t block, Hessian& hessian)> map;
};

// The layer loop: forward, Hessians, conversion, for the layers of this rank's stage, from the first one the checkpoint lacks.
class Pipeline {
 public:
  // model: transformed if some output is. samples: the calibration, all of it on every rank; empty for methods without
  // calibration. state: what the checkpoint holds.
  Pipeline(Job& job, const ModelInput& model, const Recipe& recipe, const std::vector<OutputSpec>& outputs, const Plan& plan,
           const Samples& samples, OutputFiles& files, const Checkpoint& checkpoint, const Checkpoint::State& state,
           const HessianUse& hessians, const CommitOptions& options, RankReport& report);

  // Collective over all ranks.
  void run();

  // Of the linears this rank wrote.
  const std::vector<TensorRecord>& records() const { return records_; }

 private:
  bool calibrated() const { return !plan_.units.empty(); }
  // GPTAQ: the original model's activations go beside the quantized one's.
  bool corrects() const { return calibrated() && recipe_.gptaq_alpha > 0; }
  bool last_stage() const { return job_.grid.stage() == plan_.stages - 1; }
  bool committed(std::int64_t layer) const { return state_.layers.contains(layer); }
  // Some layer after this one, in this stage or, when nothing was sent yet, in a later one, needs its output.
  bool needs_output_of(std::int64_t layer) const;
  std::int64_t calibration_tokens() const;

  // Hidden states (pipeline_hidden.cc)
  void tell_start() const;
  void run_stage();
  void write_first();
  void make_units();
  // Of this replica: of its units, then of the originals.
  std::vector<HiddenState> states();
  void enter();
  void embed_unit(std::size_t unit);
  std::size_t turns() const;
  void exchange(Pending pending);
  void receive_unit(std::size_t turn);
  void send_unit(std::size_t turn);
  void stream_originals(const std::vector<Forms<LayerWeights>>& layers);

  void run_layer(std::int64_t layer, std::optional<Forms<LayerWeights>> resident);
  Forms<LayerWeights> load_resident(std::int64_t layer);
  void replay_layer(const LayerSpec& layer, std::optional<Forms<LayerWeights>> resident);
  void quantize_layer(const LayerSpec& layer, const LayerPlan& plan, Forms<LayerWeights>& weights, bool forward_whole);
  void quantize_head();
  bool convert_rows(std::int64_t layer);
  void commit(std::int64_t layer, std::chrono::steady_clock::time_point start);
  // The canonical Hessian of a block of the current layer, at its owner: begun, and finished or read.
  HessianSum begin_hessian_of(const BlockSpec& block, const BlockPlan& plan);
  SharedHessian hessian_of(std::size_t index, const BlockSpec& block, const BlockPlan& plan, HessianSum sum);
  // The same of the form with these transforms.
  SharedHessian mapped(const SharedHessian& hessian, const std::vector<std::string>& to, std::size_t index,
                       const BlockSpec& block, const BlockPlan& plan);
  // The line of a layer that is done. Collective over the replicas.
  void report_layer(const std::vector<TensorRecord>& records, std::chrono::steady_clock::time_point start);
  // The factors of a block, with the correction; the units stand before it.
  using Factors = Forms<Factor>;
  Factors factors_of(std::size_t index, const BlockSpec& block, const BlockPlan& plan, HessianSum sum);
  Factors factors_of(std::size_t index, const BlockSpec& block, const BlockPlan& plan);
  bool converts(const BlockSpec& block) const {
    return converter_.converts(block) || (other_converter_ && other_converter_->converts(block));
  }
  // The factors of a layer's blocks need a Hessian each, also where nothing is converted, when Hessians are kept.
  bool watches(const BlockSpec& block) const { return hessians_.keep || converts(block); }
  void write_dense(std::int64_t layer, const LoadedForms& loaded);
  using Linears = std::span<const LinearWeights>;
  void convert_block(const BlockSpec& block, const BlockPlan& plan, Linears weights, Linears other, const Factors* factors);
  template <typename Body>
  void for_units(const char* phase, std::vector<UnitState>& units, Body&& body);

  Job& job_;
  const std::vector<std::string>& transforms_;  // of the form whose activations pass the layers
  const ModelInput& input_;                     // in this form
  const ModelInput* other_;                     // in that of outputs with other transforms; null: there are none
  const ModelSpec& model_;
  const Recipe& recipe_;
  const Plan& plan_;
  const Samples& samples_;
  const Checkpoint& checkpoint_;
  const Checkpoint::State& state_;
  const HessianUse& hessians_;
  const CommitOptions& options_;
  RankReport& report_;
  std::vector<float> passing_;  // hidden states on their way between stages, and
  Pending exchange_;            // what moves them
  std::optional<std::size_t> propagated_;
  std::int64_t first_, last_;       // layers of this stage; a quantized head is one more
  bool streams_;                    // units pass all stages before anything is quantized
  std::vector<StageStart> starts_;  // of all stages
  StageStart start_;                // of this one
  std::int64_t current_ = 0;        // layer
  LayerLines lines_;
  double busy_before_ = 0;  // seconds of work before this layer
  LayerLoader loader_;
  DenseTensors dense_;
  std::optional<TokenRows> token_rows_;  // until the first hidden states are made
  Committer committer_;
  BlockConverter converter_;
  std::optional<BlockConverter> other_converter_;
  RowConverter row_converter_;
  std::vector<TensorRecord> records_;
  std::optional<Decoder> decoder_;
  std::vector<std::int64_t> mine_;    // indices of this replica's units
  std::vector<UnitState> units_;      // their states
  std::vector<UnitState> originals_;  // GPTAQ: those of the original model
};

}  // namespace mpiquant
